"""`sealstream keys`: one Ed25519 key a chain. Only checkpointing reads it; sequencers and verifiers get the vkey."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sealstream.checkpointing import create_key, load_signer
from sealstream.cli.context import out
from sealstream.layout import check_chain_name, check_log_name

__all__ = ["app"]

app = typer.Typer(help="Make and show a chain's signing key.", no_args_is_help=True)


@app.command("create")
def create(
    origin: Annotated[str, typer.Argument(help="The chain's origin, <log>/<chain>: audit.example.com/clinic/main.")],
    file: Annotated[Path, typer.Argument(help="Where the key goes; made with mode 0600 and never overwritten.")],
) -> None:
    """Make a new Ed25519 key and print its public half as a C2SP verifier key (vkey).

    Give the vkey to everyone who will verify; keep the file where only checkpointing can read it. Whoever has the
    file can sign another history in this chain's name.
    """
    log, _, chain = origin.rpartition("/")
    check_log_name(log)
    check_chain_name(chain)
    print(create_key(file, origin))
    out.print(f"key written to {file} (mode 0600); the line above is its public key", style="dim")


@app.command("show")
def show(file: Annotated[Path, typer.Argument(help="A key file.")]) -> None:
    """Print the public key (vkey) of a key file, after checking that nobody else can read it."""
    print(load_signer(file).vkey)
