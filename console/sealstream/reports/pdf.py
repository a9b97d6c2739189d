"""The page on paper, by a Chromium that is installed: a PDF is made beside its place and renamed into it.

Chromium runs with a profile of its own in a temporary folder and without network services; ended after a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from sealstream.errors import Misconfigured, Unavailable

__all__ = ["find_chromium", "print_pdf"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_PATIENCE_S = 60.0


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine; None: there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def print_pdf(page: Path, pdf: Path) -> None:
    """Print the HTML file `page` into `pdf`. Raises `Misconfigured` without a Chromium, `Unavailable` when it fails."""
    chromium = find_chromium()
    if chromium is None:
        raise Misconfigured(
            f"{pdf}: a PDF is printed by Chromium or Chrome, and none is on this machine's PATH ({', '.join(_NAMES)}): "
            f"install one, or open {page} in a browser and print it from there"
        )
    with tempfile.TemporaryDirectory(prefix="sealstream-report-") as folder:
        printed = Path(folder) / "report.pdf"
        command = [
            chromium,
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-pdf-header-footer",
            f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={printed}",
            page.resolve().as_uri(),
        ]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses root with it; the page has no script
        try:
            done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{chromium} could not print {page}: {error}; the HTML file is whole") from error
        if done.returncode or not printed.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Unavailable(f"{chromium} could not print {page}: {said[-1] if said else 'it said nothing'}")
        beside = pdf.with_name(f".{pdf.name}.part")
        shutil.copyfile(printed, beside)
        beside.chmod(0o600)  # as the page that it is printed from
        beside.replace(pdf)
