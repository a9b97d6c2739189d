"""A chain's signing key: one Ed25519 key in one file, as C2SP text, that nobody but its owner can read.

The invariant: a key file is whole or not there, is never overwritten (whoever lost a key could not sign the chain any
more), and is refused as soon as others can read it. A crash while one is made leaves at most a `.new` file beside.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from sealstream.errors import Misconfigured
from sealstream.sealing import BadNote, Signer, new_signing_key, signer

__all__ = ["NoSigningKey", "create_key", "load_signer"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_BYTES = 4_096


class NoSigningKey(Misconfigured):
    """The key file is not there: a chain whose key is lost can't be signed any more."""

    runbook = "docs/runbooks/lost-signing-key.md"


def create_key(path: str | Path, origin: str) -> str:
    """Make a key named `origin` in a new file of mode 0600; its public half as a C2SP verifier key.

    Raises `Misconfigured` when the file exists or can't be written.
    """
    path = Path(path)
    skey = new_signing_key(origin)
    unnamed = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write_private(unnamed, f"{skey}\n".encode())
            os.link(unnamed, path)  # unlike a rename, this never replaces a file
        finally:
            unnamed.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        if os.path.lexists(path):
            raise Misconfigured(f"key file {path} exists: a key is never overwritten; choose another file") from error
        raise Misconfigured(f"can't make the key file {path}: {error.strerror}") from error
    return signer(skey).vkey


def load_signer(path: str | Path, origin: str | None = None) -> Signer:
    """The signer whose key is in this file. Raises `Misconfigured`, which never shows the key.

    `origin`: whose key it must be. Refused when group or others may read, write or execute the file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NoSigningKey(
            f"key file {path} does not exist: put it back from your backup; for a chain that has none yet, make one "
            f"with `sealstream keys create {origin or 'ORIGIN'} {path}`"
        ) from error
    except OSError as error:
        raise Misconfigured(f"can't read the key file {path}: {error.strerror}") from error
    if mode & _OTHERS:
        raise Misconfigured(
            f"key file {path} has mode {stat.S_IMODE(mode):04o}: expected 0600, others must not read a signing key; "
            f"run `chmod 600 {path}`, and make a new chain if somebody may have read it"
        )
    try:
        found = signer(data.decode("ascii").removesuffix("\n"))
    except (BadNote, UnicodeDecodeError) as error:
        # An error of decoding would show the bytes.
        detail = str(error) if isinstance(error, BadNote) else "it is not ASCII text"
        raise Misconfigured(f"key file {path} holds no signing key: {detail}") from None
    if origin is not None and found.name != origin:
        raise Misconfigured(f"key file {path} is the key of {found.name}: expected the key of {origin}")
    return found


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
