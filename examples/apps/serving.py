"""The four applications as they are served here: each by its ecosystem's real server, under the stack's supervisor."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sealstream.devstack import ProcessSpec
from sealstream.devstack.ports import HOST

__all__ = ["ROOT", "Application", "NoExpress", "Places", "application", "make_express"]

ROOT = Path(__file__).resolve().parents[2]
_PACKAGE, _SHOP = ROOT / "producers" / "express", ROOT / "examples" / "apps" / "express_app"
_OLDEST_NODE = 18
_SERVICE = "SEALSTREAM_CLIENT_SERVICE"
_GUNICORN = ("gunicorn", "--workers", "2", "--worker-class", "gthread", "--threads", "4", "--timeout", "180")


class NoExpress(Exception):
    """Why the Express part is skipped."""


class Application(NamedTuple):
    """One that can be started, again and again; its first start is number 1."""

    name: str
    port: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path = ROOT

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    def spec(self, start: int) -> ProcessSpec:
        """However it ends, it is not started again by itself."""
        return ProcessSpec(
            name=f"{self.name}-{start}",
            argv=self.command,
            env=self.environment,
            ready=lambda _: self.answers(),
            alarm_exit_codes=frozenset(range(-64, 256)),
            ready_timeout_s=150,
            stop_timeout_s=60,
            cwd=self.cwd,
        )

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Places(NamedTuple):
    """Where the applications' events go, and where invoices are kept."""

    chain: str
    bootstrap: str
    invoices_dsn: str
    spool: Path
    collector_url: str
    collector_key: str


def application(name: str, port: int, places: Places) -> Application:
    """One of `django`, `flask`, `fastapi`, `express`, as it is deployed: its server and its environment."""
    kafka = {"SEALSTREAM_BOOTSTRAP": places.bootstrap, "SEALSTREAM_CHAIN": places.chain}
    bind = ("--bind", f"{HOST}:{port}")
    if name == "django":
        command: tuple[str, ...] = (sys.executable, "-m", *_GUNICORN, *bind, "examples.apps.django_app.wsgi")
        return Application(name, port, command, {**kafka, _SERVICE: "invoices", "INVOICES_DSN": places.invoices_dsn})
    if name == "flask":
        command = (sys.executable, "-m", *_GUNICORN, *bind, "examples.apps.flask_app.app:app")
        spool = {"SEALSTREAM_CLIENT_MODE": "spool", "SEALSTREAM_CLIENT_SPOOL_DIRECTORY": str(places.spool)}
        return Application(name, port, command, {**kafka, _SERVICE: "help-desk", **spool})
    if name == "fastapi":
        served = ("uvicorn", "examples.apps.fastapi_app.app:app", "--host", HOST, "--port", str(port))
        options = ("--no-proxy-headers", "--log-level", "warning", "--timeout-graceful-shutdown", "30")
        return Application(name, port, (sys.executable, "-m", *served, *options), {**kafka, _SERVICE: "laboratory"})
    collector = {
        "SEALSTREAM_COLLECTOR_URL": places.collector_url,
        "SEALSTREAM_COLLECTOR_KEY": places.collector_key,
    }
    return Application(name, port, ("node", "app.mjs"), {**collector, _SERVICE: "shop", "PORT": str(port)}, _SHOP)


def make_express() -> None:
    """Install what the shop needs, and build the package that it uses. Raises `NoExpress`, and `RuntimeError` when the
    package can't be built from what is there.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NoExpress("node and npm are not installed here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < _OLDEST_NODE:
        raise NoExpress(f"node is {version}, and {_OLDEST_NODE} or newer is needed")
    for folder in (_PACKAGE, _SHOP):
        _install(folder)
    sources = [*(_PACKAGE / "src").rglob("*.ts"), *(_PACKAGE / "scripts").glob("*.mjs"), _PACKAGE / "package.json"]
    built = _PACKAGE / "dist" / "index.mjs"
    if not built.exists() or built.stat().st_mtime < max(each.stat().st_mtime for each in sources):
        done = _npm(_PACKAGE, "run", "build")
        if done.returncode != 0:
            raise RuntimeError(f"producers/express can't be built: {done.stdout[-2_000:]}{done.stderr[-2_000:]}")


def _install(folder: Path) -> None:
    installed = folder / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= (folder / "package.json").stat().st_mtime:
        return
    done = _npm(folder, "install", "--no-audit", "--no-fund")
    if done.returncode != 0:
        raise NoExpress(f"npm can't install what {folder.relative_to(ROOT)} needs: {done.stderr[-300:]}")
    installed.touch()


def _npm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["npm", *arguments]
    try:
        return subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoExpress(f"`{' '.join(command)}` has not ended within {error.timeout:.0f} s") from error
