"""Has a person correct a text in their own editor. The file stays until what was written has been used: work on it is
not lost to a mistake in it, or to a crash.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from sealstream.errors import Misconfigured

__all__ = ["edit"]


def edit(text: bytes, name: str) -> Path:
    """The file, as the person left it. Raises `Misconfigured` when there is no editor, it fails, or nothing changed."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise Misconfigured("--edit needs an editor: set EDITOR, or give the correction with --event FILE")
    handle, path = tempfile.mkstemp(prefix=f"sealstream-{name}-", suffix=".json")
    with os.fdopen(handle, "wb") as file:
        file.write(text)
    try:
        done = subprocess.run([*shlex.split(editor), path], check=False)
    except OSError as error:
        raise Misconfigured(f"--edit: {editor!r} can't be started: {error}") from error
    if done.returncode:
        raise Misconfigured(
            f"--edit: {editor!r} ended with exit code {done.returncode}: nothing was sent ({path} is kept)"
        )
    if Path(path).read_bytes() == text:
        Path(path).unlink()
        raise Misconfigured("nothing was changed in the editor: nothing was sent")
    return Path(path)
