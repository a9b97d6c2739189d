"""`sealstream archive copy`: the archive as files, to hand to an auditor.

Only reads the bucket, which is recorded in the log (`log.read`). Repeatable.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sealstream.archive import copy_archive
from sealstream.cli.context import context_of, counted, out
from sealstream.cli.reading import ReadLog
from sealstream.cli.stores import archive_settings
from sealstream.cli.verify import progress_bar
from sealstream.errors import Misconfigured

__all__ = ["copy_command"]


def copy_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where the copy goes; made when it is not there.")],
    chain: Annotated[str, typer.Option("--chain", help="The chain.")] = "main",
) -> None:
    """Copy a chain's archive into a folder, to be verified anywhere, offline.

    Run it again to fetch what is new or was interrupted: what is there and whole is left alone. Then
    `sealstream verify archive --folder FOLDER` needs neither network nor password, only the chain's public key.
    """
    if folder.exists() and not folder.is_dir():
        raise Misconfigured(f"{folder} is a file: expected a folder, or a name that is free")
    settings = context_of(context).settings()
    known = settings.chain(chain)
    reading = ReadLog(settings, "export", "archive copy", [known.name])
    with reading.streaming("archive") as given, progress_bar(f"copy {chain}", shown=True, unit="segments") as progress:
        copied = copy_archive(archive_settings(settings), known.name, folder, progress)
        given({known.name: copied.entries})
    if not copied.segments:
        raise Misconfigured(f"the archive holds nothing of chain {chain} yet: its first segment has not ended")
    out.print(
        Text(
            f"{folder} has {counted(copied.segments, 'segment')} of chain {chain}; copied "
            f"{counted(copied.files, 'file')}, {copied.size_bytes / 1e6:,.1f} MB\n"
            "verify it anywhere, without settings or network:\n"
            f"sealstream verify archive --folder {shlex.quote(str(folder))} --vkey {known.vkey}"
        ),
        soft_wrap=True,
    )
