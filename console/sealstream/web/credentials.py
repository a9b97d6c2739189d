"""Credentials of services, and the file that knows them by their hashes: what tokens and the collector's keys share.

One is `<prefix><id>_<secret>`, 192 random bits in the secret, shown once; scanners for leaked secrets find the prefix.
The file keeps the SHA-256 of the whole, which tells nobody the secret and needs no salt, since nobody guesses 192 bits.
The invariant: a credential counts exactly while its line says so; services look whether the file has changed at every
request, so a revocation counts at once in each of them. Written whole and by rename, under a lock: a crash leaves the
old file or the new one. Whoever may write the file can make credentials: it must be its owner's alone.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Generic, Literal, TypeVar

import msgspec

from sealstream.errors import Misconfigured

__all__ = ["Credential", "CredentialFile", "new_secret"]

_ID_BYTES = 6
_SECRET_BYTES = 24
_LONGEST = 200


class Credential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of each kind. `sha256`: of the secret, hex."""

    id: str
    name: str
    sha256: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it may be used."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def state(self, now: datetime) -> str:
        """In a word."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.counts(now) else "expired"


Kept = TypeVar("Kept", bound=Credential)


def new_secret(prefix: str) -> tuple[str, str, str]:
    """A new id, the whole secret (to be shown once) and the hash to be kept."""
    new_id = secrets.token_hex(_ID_BYTES)
    whole = f"{prefix}{new_id}_{secrets.token_hex(_SECRET_BYTES)}"
    return new_id, whole, _hashed(whole)


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def _hashed(secret: str) -> str:
    return sha256(secret.encode(errors="replace")).hexdigest()


class CredentialFile(Generic[Kept]):
    """The file of one kind; one that is not there holds none. Used by any thread.

    `member`: what the list in the file is called; `command`: what writes it.
    """

    def __init__(self, path: Path, kind: type[Kept], *, prefix: str, member: str, command: str) -> None:
        self.path = path
        self._prefix = prefix
        self._member = member
        self._command = command
        fields: list[tuple[str, Any]] = [("v", Literal[1]), (member, list[kind])]  # type: ignore[valid-type]
        self._shape: Any = msgspec.defstruct("Kept", fields, forbid_unknown_fields=True)
        self._lock = Lock()
        self._seen: tuple[int, int, int, int] | None = None
        self._kept: dict[str, Kept] = {}

    def all(self) -> list[Kept]:
        """All of them, as the file says now. Raises `Misconfigured` when it can't be trusted or read."""
        return list(self._current().values())

    def check(self) -> None:
        """Raises `Misconfigured` when the file can't be trusted or read."""
        self._current()

    def found(self, presented: str, now: datetime) -> Kept | None:
        """The one that counts and is this one; None: there is none. A wrong secret takes as long as a right one."""
        digest = _hashed(presented[:_LONGEST])
        its_id = presented[len(self._prefix) :].partition("_")[0] if presented.startswith(self._prefix) else ""
        kept = self._current().get(its_id)
        same = hmac.compare_digest(digest, "0" * 64 if kept is None else kept.sha256)
        if kept is None or not same or len(presented) > _LONGEST or not kept.counts(now):
            return None
        return kept

    def stands(self, credential: Kept, now: datetime) -> bool:
        """Whether this one, found before, still counts and has the bounds that it had."""
        return credential.counts(now) and self._current().get(credential.id) == credential

    def change(self, work: Callable[[list[Kept]], list[Kept]]) -> None:
        """Put what `work` makes of them in their place; of two who change them at once, one waits."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            kept = {"v": 1, self._member: work(self.all())}
            data = msgspec.json.format(msgspec.json.encode(kept)) + b"\n"
            handle, beside = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # 0600
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(beside).replace(self.path)
            except BaseException:
                Path(beside).unlink(missing_ok=True)
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _current(self) -> dict[str, Kept]:
        with self._lock:
            try:
                if _identity(os.stat(self.path)) != self._seen:
                    with self.path.open("rb") as file:
                        found = os.fstat(file.fileno())
                        self._kept = self._read(file.read(), found.st_mode)
                        self._seen = _identity(found)
            except FileNotFoundError:
                self._kept, self._seen = {}, None
            except OSError as error:
                raise Misconfigured(f"{self._member} file {self.path} can't be read: {error}") from error
            return self._kept

    def _read(self, data: bytes, mode: int) -> dict[str, Kept]:
        if mode & 0o022:
            raise Misconfigured(
                f"{self._member} file {self.path} may be written by others (mode {mode & 0o777:o}), who could make "
                f"themselves {self._member}: expected its owner alone; chmod 600 {self.path}, and look at "
                f"`{self._command} list`"
            )
        try:
            kept = msgspec.json.decode(data, type=self._shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Misconfigured(
                f"{self._member} file {self.path} is not as `{self._command}` writes it: {error}"
            ) from error
        listed: list[Kept] = getattr(kept, self._member)
        return {each.id: each for each in listed}
