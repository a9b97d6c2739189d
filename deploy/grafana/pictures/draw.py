"""Draw the dashboards into docs/images as Grafana draws them, from what a Prometheus knows: see README.md.

    python deploy/grafana/pictures/draw.py http://127.0.0.1:9090 --start 2026-11-30T14:00:00Z --end 2026-11-30T14:15:00Z

There is no Grafana server in it. This asks Prometheus each dashboard's own queries, and page.tsx draws the answers with
Grafana's components (`npm install` has fetched them), which chromium photographs.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

__all__ = ["DASHBOARDS", "IMAGES", "MOST_BYTES", "Span", "draw", "picture_of"]

HERE = Path(__file__).parent
DASHBOARDS = HERE.parent / "dashboards"
IMAGES = HERE.parents[2] / "docs" / "images"
MOST_BYTES = 350 * 1024

_WIDTH = 1400
_HEAD, _UNIT, _BELOW = 56, 38, 8  # pixels, as in page.tsx
_COLUMNS = 24
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_ICONS = HERE / "node_modules/@grafana/ui/dist/public"
_PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><div id="page"></div>
<script>window.__grafana_public_path__ = "public/"</script><script src="page.js"></script>
"""


class Span(NamedTuple):
    """What is shown: from and to, in seconds since 1970, and how many seconds lie between two scrapes."""

    start: int
    end: int
    scrape_s: int


def picture_of(dashboard: Path) -> Path:
    """Where this dashboard's picture stands."""
    return IMAGES / f"dashboard-{dashboard.stem.removeprefix('sealstream-')}.png"


def draw(prometheus: str, span: Span, job: str = "sealstream") -> list[Path]:
    """Make all pictures anew; returns their paths. Raises `RuntimeError` with what a tool or Prometheus said."""
    with tempfile.TemporaryDirectory(prefix="sealstream-pictures-") as name:
        folder = Path(name)
        _bundle(folder)
        server = _Server(("127.0.0.1", 0), partial(_Files, directory=name))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            pictures = []
            for file in sorted(DASHBOARDS.glob("*.json")):
                dashboard = json.loads(file.read_text())
                page = _answered(dashboard, prometheus, span, job)
                (folder / "page.json").write_text(json.dumps(page))
                pictures.append(picture_of(file))
                _photograph(server, _height(dashboard), pictures[-1], folder)
            return pictures
        finally:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    """`said`: what the page has told since it was asked for: `drawn`, or errors."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.said: list[str] = []


class _Files(SimpleHTTPRequestHandler):
    """The page, and the icons of Grafana's package where its components look for them."""

    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.said.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()

    def translate_path(self, path: str) -> str:
        asked = super().translate_path(path)
        icons = Path(self.directory) / "public" / "build"
        return str(_ICONS / Path(asked).relative_to(icons)) if Path(asked).is_relative_to(icons) else asked

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said."""


def _bundle(folder: Path) -> None:
    tools = HERE / "node_modules/.bin"
    esbuild = tools / "esbuild"
    if not esbuild.exists():
        raise RuntimeError(f"{esbuild} is missing: `npm install --ignore-scripts` in {HERE} fetches it")
    options = ["--bundle", "--minify", "--jsx=automatic", "--loader:.woff2=dataurl"]
    options += ["--loader:.woff=empty", "--loader:.ttf=empty"]
    options += ['--define:process.env.NODE_ENV="production"', f"--outfile={folder / 'page.js'}"]
    _run([str(tools / "tsc"), "--project", str(HERE)])
    _run([str(esbuild), str(HERE / "page.tsx"), *options])
    (folder / "index.html").write_text(_PAGE)


def _answered(dashboard: dict[str, Any], prometheus: str, span: Span, job: str) -> dict[str, Any]:
    """The page: the dashboard with an answer for each of its queries."""
    answers: dict[str, dict[str, Any]] = {}
    steps: dict[str, int] = {}
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        # as Grafana: a step a pixel, but none shorter than a scrape; a rate over four scrapes or more
        step = max(span.scrape_s, math.ceil((span.end - span.start) / (_WIDTH * panel["gridPos"]["w"] / _COLUMNS)))
        steps[str(panel["id"])] = step
        values = {
            "$__rate_interval": f"{max(step + span.scrape_s, 4 * span.scrape_s)}s",
            "$__range": f"{span.end - span.start}s",
            "$job": job,
            "$chain": ".*",
        }
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in values.items():
                query = query.replace(variable, value)
            answers.setdefault(str(panel["id"]), {})[target["refId"]] = _ask(prometheus, query, target, span, step)
    return {
        "dashboard": dashboard,
        "variables": {"Job": job, "Chain": "All"},
        "start": span.start,
        "end": span.end,
        "steps": steps,
        "answers": answers,
        "note": f"drawn with @grafana/ui {_version()}, without a Grafana server",
    }


def _version() -> str:
    return str(json.loads((HERE / "package.json").read_text())["dependencies"]["@grafana/ui"])


def _ask(prometheus: str, query: str, target: dict[str, Any], span: Span, step: int) -> Any:
    if target["instant"]:
        path, more = "query", {"time": span.end}
    else:
        path, more = "query_range", {"start": span.start, "end": span.end, "step": step}
    body = urllib.parse.urlencode({"query": query, **more}).encode()
    try:
        with urllib.request.urlopen(f"{prometheus.rstrip('/')}/api/v1/{path}", body, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"Prometheus refuses {query}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise RuntimeError(f"Prometheus does not answer at {prometheus}: {error}") from error


def _height(dashboard: dict[str, Any]) -> int:
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    units: int = max(place["y"] + place["h"] for place in places)
    return _HEAD + _UNIT * units + _BELOW


def _photograph(server: _Server, height: int, picture: Path, folder: Path) -> None:
    chromium = next((path for path in map(shutil.which, _CHROMIUM) if path), None)
    if chromium is None:
        raise RuntimeError(f"no browser: expected one of {', '.join(_CHROMIUM)} on the PATH")
    picture.parent.mkdir(exist_ok=True)
    picture.unlink(missing_ok=True)
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--lang=en-US"]
    command += [f"--user-data-dir={folder / 'browser'}", f"--window-size={_WIDTH},{height}"]
    command += ["--run-all-compositor-stages-before-draw", "--virtual-time-budget=30000", f"--screenshot={picture}"]
    server.said.clear()
    told = _run([*command, f"http://127.0.0.1:{server.server_port}/"])
    if server.said != ["drawn"] or not picture.exists():
        picture.unlink(missing_ok=True)
        raise RuntimeError(f"{picture.name} was not drawn: {'; '.join(server.said) or told}")
    _shrink(picture)
    if picture.stat().st_size > MOST_BYTES:
        raise RuntimeError(f"{picture} has {picture.stat().st_size} bytes: expected at most {MOST_BYTES}")


def _shrink(picture: Path) -> None:
    """256 colours: the most frequent as they are, which makes surfaces and lines exact, and others for the text's edges."""
    with Image.open(picture) as taken:
        image = taken.convert("RGB")
    counted = sorted(image.getcolors(image.width * image.height) or [], reverse=True)
    exact = [part for _, colour in counted[:128] if isinstance(colour, tuple) for part in colour]
    others = image.quantize(128, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(exact + others[: 3 * 128])
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(picture, optimize=True)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stderr.strip()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the dashboards from what a Prometheus knows.")
    parser.add_argument("prometheus", help="its address, http://host:port")
    parser.add_argument("--start", required=True, type=datetime.fromisoformat, help="RFC 3339, with Z or an offset")
    parser.add_argument("--end", required=True, type=datetime.fromisoformat)
    parser.add_argument("--scrape-seconds", type=int, default=5)
    given = parser.parse_args()
    span = Span(int(given.start.timestamp()), int(given.end.timestamp()), given.scrape_seconds)
    for picture in draw(given.prometheus, span):
        print(picture)


if __name__ == "__main__":
    main()
