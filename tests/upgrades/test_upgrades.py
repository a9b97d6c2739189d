"""A log that the first release wrote: read, verified and continued by the newest, process by process, and back again.

The first release is its own wheel (`releases/`, built from the commit that README.md there names), run as it was from a
folder of its own that stands before this repository on Python's path. Stores, settings file and roles are the same all
the time, as they are for an operator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.long_runs import long_run
from tests.pipeline import PROCESSES, Pipeline, as_role, pipeline_roles, sql

from sealstream.cli.settings import write_settings
from sealstream.devstack import Endpoints, ProcessSpec
from sealstream.devstack.running import spawn
from sealstream.layout.tables import Roles

__all__ = ["pipeline_roles"]

pytestmark = [long_run, pytest.mark.timeout(600)]

RELEASES = Path(__file__).parent / "releases"
FIRST = "0.1.0"
NEWEST = ""
STEP = 200
_PASSWORD = "of-the-tests"


class Operator:
    """Who runs a log on servers with one release or another. `NEWEST` is this repository."""

    def __init__(self, folder: Path, dsn: str, roles: Roles, stack: Endpoints, name: str) -> None:
        self.folder, self.config = folder, folder / "sealstream.toml"
        self._roots: dict[str, Path] = {}
        self._sent = 0
        self._dsn, self._roles = dsn, roles
        settings: dict[str, Any] = {
            "log": "audit.example.com/tests",
            "kafka": {"bootstrap": stack.kafka_bootstrap, "prefix": f"p-{name}"},
            "postgres": {f"{short}_dsn": as_role(dsn, role) for short, role in roles.logins().items()},
            "archive": {
                "bucket": f"t-{name}",
                "endpoint_url": stack.s3_endpoint_url,
                "region": stack.s3_region,
                "access_key": stack.s3_access_key,
                "secret_key": stack.s3_secret_key,
            },
        }
        write_settings(self.config, settings)
        self.migrate(FIRST)
        self.run(FIRST, "chain", "create", "main", "--retention", "1d", "--segment-seconds", "5")
        self.pipeline = Pipeline(folder, "main", dsn)

    def environment(self, release: str) -> dict[str, str]:
        """What makes `python -m sealstream...` that release."""
        if not release:
            return dict(os.environ)
        if release not in self._roots:
            root = self.folder / f"sealstream-{release}"
            (wheel,) = RELEASES.glob(f"sealstream-{release}-*.whl")
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(root)
            self._roots[release] = root
        others = os.environ.get("PYTHONPATH", "")
        return dict(os.environ) | {"PYTHONPATH": f"{self._roots[release]}{os.pathsep if others else ''}{others}"}

    def python(self, release: str, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment(release),
            cwd=self.folder,
            timeout=200,
        )
        assert done.returncode in codes, f"{release or 'newest'}: {words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, release: str, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """A command of that release; what it prints."""
        return self.python(release, "-m", "sealstream.cli.entry", "--config", str(self.config), *words, codes=codes)

    def migrate(self, release: str) -> None:
        """Bring Postgres to that release's schema, with roles of this test alone."""
        code = (
            "import sys; from sealstream.postgres import migrate; from sealstream.layout.tables import Roles; "
            "roles = Roles.of(sys.argv[2]); migrate(sys.argv[1], roles=roles, "
            "passwords=dict.fromkeys(roles.logins(), sys.argv[3]))"
        )
        prefix = self._roles.sink.removesuffix("_sink")
        assert Roles.of(prefix) == self._roles
        self.python(release, "-c", code, self._dsn, prefix, _PASSWORD)

    def migrate_back(self) -> None:
        """By the newest release, to what the first one knows."""
        code = (
            "import sys; from sealstream.postgres import migrate_back; from sealstream.layout.tables import Roles; "
            "print(migrate_back(sys.argv[1], 6, roles=Roles.of(sys.argv[2])))"
        )
        said = self.python(NEWEST, "-c", code, self._dsn, self._roles.sink.removesuffix("_sink"))
        assert said.strip() == "['0008_expiry_statement', '0007_expiry']"

    def start(self, release: str, *names: str) -> None:
        """Start processes of that release, all four by default."""
        for name in names or PROCESSES:
            command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), "run", name]
            spec = ProcessSpec(name=name, argv=[*command, "--chain", "main"], env=self.environment(release))
            self.pipeline.running[name] = spawn(spec, self.folder / f"{name}.log")

    def work(self) -> None:
        """An application goes on writing; all of it comes into every store."""
        events = [self.pipeline.event(n, producer="app") for n in range(self._sent, self._sent + STEP)]
        self._sent += STEP
        self.pipeline.send(events)
        self.pipeline.wait_stored(self.pipeline.wait_sealed())

    def signs(self) -> None:
        """An application writes an event of a form that the first release does not take, signed with nobody's key."""
        signature = {"key": "nobody+00000000", "value": "AAAA"}
        self.pipeline.send([self.pipeline.event(self._sent, producer="app", signature=signature)])
        self._sent += 1
        self.pipeline.wait_stored(self.pipeline.wait_sealed())

    def archived(self) -> None:
        """Until the archive has what the application wrote."""
        self._sent += self.pipeline.archive_all(self._sent)

    def holds(self, *releases: str) -> None:
        """Every event once and in order in every store, by the verifiers of these releases."""
        expected = [self.pipeline.event_id(n) for n in range(self._sent)]
        assert self.pipeline.stored_ids() == expected
        assert self.pipeline.archived_ids() == expected
        for release in releases:
            state = ["--state-dir", str(self.folder / f"state-{release}")]
            said = self.run(release, "verify", "all", "--chain", "main", "--json", *state)
            reports = [json.loads(document) for document in said.replace("}\n{", "}\0{").split("\0")]
            assert [report["store"] for report in reports] == ["kafka", "postgres", "archive"]
            assert all(report["faults"] == [] and report["entries"] >= self._sent for report in reports), said

    def stop(self, *names: str) -> None:
        assert set(self.pipeline.stop(*names).values()) == {0}, self.pipeline.why()


@pytest.fixture
def operator(
    stack: Endpoints, postgres_admin_dsn: str, pipeline_roles: Roles, tmp_path: Path
) -> Iterator[Callable[[], Operator]]:
    name = f"u{uuid.uuid4().hex[:12]}"
    sql(postgres_admin_dsn, f"CREATE DATABASE {name}")
    made = Operator(
        tmp_path, urlunsplit(urlsplit(postgres_admin_dsn)._replace(path=f"/{name}")), pipeline_roles, stack, name
    )
    yield made
    made.pipeline.kill_all()
    sql(postgres_admin_dsn, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_the_first_release_is_what_runs(operator: Operator) -> None:
    where = "import sealstream.sequencer as a, sealstream.postgres as b; print(a.__file__, b.__file__)"
    assert str(operator.folder) in operator.python(FIRST, "-c", where)
    assert str(operator.folder) not in operator.python(NEWEST, "-c", where)


def test_a_log_of_the_first_release_goes_on_under_the_newest_and_back(operator: Operator) -> None:
    operator.start(FIRST)
    operator.work()
    operator.archived()
    operator.holds(FIRST, NEWEST)
    written = operator.config.read_bytes()

    # Upwards: the database first, while the first release goes on; then one process after the other, sinks first.
    said = operator.run(NEWEST, "config", "check", codes=(1,))
    assert [line for line in said.splitlines() if line.startswith("wrong") and "sealstream migrate" not in line] == []
    operator.migrate(NEWEST)
    operator.run(NEWEST, "config", "check")  # exit code 0: nothing is wrong
    operator.run(NEWEST, "chain", "create", "main", "--declared")
    operator.work()
    for name in reversed(PROCESSES):
        operator.stop(name)
        operator.start(NEWEST, name)
        operator.work()
    operator.archived()
    operator.holds(FIRST, NEWEST)
    assert operator.config.read_bytes() == written

    # What the first release has no name for.
    operator.signs()
    assert "signature.refused" in {entry["action"] for entry in operator.pipeline.entries()}
    operator.archived()
    operator.holds(FIRST, NEWEST)
    found = operator.run(NEWEST, "search", "action:read", "--json", "--limit", "1000")
    assert found.count('"resource_type":"patient_record"') == 1_000

    # And back by one version: the sequencer first, so that nobody reads what it has not heard of.
    for name in PROCESSES:
        operator.stop(name)
        if name == "postgres-sink":
            operator.migrate_back()
        operator.start(FIRST, name)
        operator.work()
    operator.migrate(FIRST)
    operator.work()
    operator.archived()
    operator.holds(FIRST, NEWEST)
    operator.stop()
