"""Writes anew which packages the image installs: each with its version and the SHA-256 of every file it may come as.

    pip install uv
    python deploy/image/lock.py            # and commit what changed

Versions are those of constraints.txt, so that the image runs what the tests ran; only what constraints.txt does not
name is chosen here. Nothing is written unless all of it could be resolved.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy" / "image"
PYTHON = "3.13"
"""The Python of the image, as in the Dockerfile's `FROM`."""


class Locked(NamedTuple):
    """One file: what is in it, and what it is resolved from: extras of this package, or requirements by name."""

    name: str
    what: str
    extras: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()


LOCKED = (
    Locked("requirements.txt", "what runs in the image", extras=("console", "anomaly", "otel")),
    Locked("requirements-build.txt", "what builds the package", requirements=("hatchling",)),
    Locked("requirements-sbom.txt", "what writes the SBOM", requirements=("cyclonedx-bom",)),
    Locked("requirements-clinic.txt", "what the example needs beside", requirements=("httpx",)),
)


def compile_command(locked: Locked, source: Path, constraints: Sequence[Path]) -> list[str]:
    """How uv resolves one of the files."""
    return [
        *("uv", "pip", "compile", str(source)),
        *(word for extra in locked.extras for word in ("--extra", extra)),
        *(word for file in constraints for word in ("--constraint", str(file))),
        *("--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28"),
        *("--only-binary", ":all:", "--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url"),
        *("--no-emit-find-links", "--quiet"),
    ]


def lock(locked: Locked, folder: Path) -> str:
    """The text of one file. Raises `CalledProcessError` where it can't be resolved."""
    source, constraints = ROOT / "pyproject.toml", [ROOT / "constraints.txt"]
    if locked.requirements:
        source = folder / "asked.in"
        source.write_text("\n".join(locked.requirements) + "\n")
    done = subprocess.run(
        compile_command(locked, source, constraints), cwd=folder, check=True, text=True, stdout=subprocess.PIPE
    )
    return f"# The image, Python {PYTHON}: {locked.what}. Made by deploy/image/lock.py\n{done.stdout}"


def main() -> int:
    """Write all files, or none."""
    with tempfile.TemporaryDirectory(prefix="sealstream-lock-") as folder:
        try:
            texts = {locked.name: lock(locked, Path(folder)) for locked in LOCKED}
        except FileNotFoundError:
            print("uv is not on the path: pip install uv", file=sys.stderr)
            return 2
        except subprocess.CalledProcessError as error:
            print(f"uv could not resolve it (exit {error.returncode}): nothing was written", file=sys.stderr)
            return 1
    for name, text in texts.items():
        (HERE / name).write_text(text)
        print(f"deploy/image/{name}: {text.count('==')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
