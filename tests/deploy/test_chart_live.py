"""The chart's own words, tried: each process is started as its manifest says, with the files that it is given, on real
servers; `config check` has nothing against it, and its probes answer where the manifest asks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.charts import Rendered, pod_of, render, settings_of
from tests.long_runs import long_run
from tests.pipeline import Pipeline, say, wait_until

from sealstream.devstack import ProcessSpec
from sealstream.devstack.ports import free_port
from sealstream.devstack.running import spawn
from sealstream.layout import SegmentLimits

pytestmark = long_run

CHAIN = "main"


@pytest.fixture(scope="module")
def pipeline(make_pipeline: Callable[..., Pipeline]) -> Iterator[Pipeline]:
    made = make_pipeline(SegmentLimits(entries=100, bytes=10_000_000, seconds=3_600), chain=CHAIN)
    yield made
    made.kill_all()


def secret(key: str) -> dict[str, str]:
    return {"secret": "of-the-tests", "key": key}


def rendered_for(pipeline: Pipeline) -> tuple[Rendered, dict[str, str]]:
    """The chart for this pipeline's servers, and what stands in its one Secret."""
    given = tomllib.loads(pipeline.config.read_text())
    chain = given["chains"][CHAIN]
    secrets = {
        "key": (pipeline.config.parent / chain.pop("key_file")).read_text(),
        **{name: given["archive"].pop(name) for name in ("access_key", "secret_key")},
        **given.pop("postgres"),
    }
    archive = {f"archive.{name}_file": secret(name) for name in ("access_key", "secret_key")}
    archive["archive.endpoint_url_file"] = secret("endpoint_url")
    secrets["endpoint_url"] = given["archive"].pop("endpoint_url")
    reading = archive | {"postgres.reader_dsn_file": secret("reader_dsn")}
    processes = {
        "checkpointing": {"files": {f"chains.{CHAIN}.key_file": secret("key")}},
        "postgres-sink": {"files": {"postgres.sink_dsn_file": secret("sink_dsn")}},
        "archive-sink": {"files": archive},
        "watch": {"files": reading},
        "anomaly": {"files": reading},
    }
    jobs = {"chains": {"enabled": True, "files": reading}, "verify": {"enabled": True, "files": reading}}
    made = render({"settings": given, "metrics": {"host": "127.0.0.1"}, "processes": processes, "jobs": jobs})
    assert not made.refused
    return made, secrets


def unpacked(rendered: Rendered, manifest: dict[str, Any], secrets: dict[str, str], folder: Path) -> Path:
    """The settings file of this manifest's pod, beside its files, with paths of this folder."""
    pod = pod_of(manifest)
    assert pod
    folder.mkdir()
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                below = "signing" if item["path"].startswith("chains.") else "files"
                path = folder / below / item["path"]
                path.parent.mkdir(exist_ok=True)
                path.write_text(secrets[item["key"]])
                path.chmod(0o600)
    config = folder / "sealstream.toml"
    config.write_text(settings_of(rendered, pod).replace("/run/sealstream/", f"{folder}/"))
    return config


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_each_process_works_as_its_manifest_says(pipeline: Pipeline, tmp_path: Path) -> None:
    rendered, secrets = rendered_for(pipeline)
    (job,) = (each for each in rendered.of("Job") if "chains" in each["metadata"]["name"])
    config = unpacked(rendered, job, secrets, tmp_path / "chains")
    done = say(config, *args_of(job))
    assert done.code == 0, done.err

    ports: set[int] = set()
    started: dict[str, tuple[str, str]] = {}
    for manifest in rendered.of("Deployment"):
        name = manifest["metadata"]["name"].removeprefix("audit-sealstream-")
        config = unpacked(rendered, manifest, secrets, tmp_path / name)
        checked = say(config, "config", "check", "--json")
        assert checked.code == 0, (name, checked.out)
        assert {"wrong"} & {each["state"] for each in json.loads(checked.out)} == set()
        port = free_port(ports)
        words = [str(port) if word == "9464" else word for word in args_of(manifest)]
        command = [sys.executable, "-m", "sealstream.cli.entry", *words]
        spec = ProcessSpec(name=name, argv=command, env={"SEALSTREAM_CONFIG": str(config)})
        pipeline.running[name] = spawn(spec, tmp_path / f"{name}.log")
        pod = pod_of(manifest)
        assert pod
        (container,) = pod["containers"]
        alive, ready = (
            f"http://127.0.0.1:{port}{container[probe]['httpGet']['path']}"
            for probe in ("livenessProbe", "readinessProbe")
        )
        started[name] = alive, ready
    assert len(started) == 7

    def log_of(name: str) -> Callable[[], str]:
        return lambda: (tmp_path / f"{name}.log").read_text()[-3_000:]

    for name, urls in started.items():
        for url in urls:
            wait_until(lambda url=url: answers(url), 90, log_of(name))  # type: ignore[misc]

    pipeline.send([pipeline.event(n, producer="p") for n in range(250)])
    pipeline.wait_stored(pipeline.wait_sealed())
    pipeline.wait_archived(200)
    (cron,) = rendered.of("CronJob")
    config = unpacked(rendered, cron, secrets, tmp_path / "verify")
    verified = subprocess.run(
        [sys.executable, "-m", "sealstream.cli.entry", *args_of(cron)],
        env={"SEALSTREAM_CONFIG": str(config), "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
        | environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    codes = pipeline.stop()
    assert set(codes.values()) == {0}, codes


def args_of(manifest: dict[str, Any]) -> list[str]:
    pod = pod_of(manifest)
    assert pod
    arguments: list[str] = pod["containers"][0]["args"]
    return arguments


def environment() -> dict[str, str]:
    """What this process needs to find the packages."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
