"""Tokens for the API: what one may see, and the file that knows them by their hashes alone.

A token is `slt_<id>_<secret>`, 192 random bits in the secret, shown once; scanners for leaked secrets find the prefix.
The file keeps the SHA-256 of the whole token, which tells nobody the token and needs no salt, since nobody guesses 192
bits. The invariant: a token counts exactly while its line says so; services look whether the file has changed at every
request, so a revocation counts at once in each of them. Written whole and by rename, under a lock: a crash leaves the
old file or the new one. Whoever may write the file can make tokens: it must be its owner's alone.
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
from typing import Literal

import msgspec

from sealstream.errors import Misconfigured

__all__ = ["ALL_CHAINS", "ROLES", "Role", "Token", "TokenFile", "new_token"]

ALL_CHAINS = "*"
PREFIX = "slt_"
_ID_BYTES = 6
_SECRET_BYTES = 24
_LONGEST = 200

Role = Literal["reader", "exporter", "auditor"]
ROLES: dict[Role, str] = {
    "reader": "searches and reads entries, chains and checkpoints",
    "exporter": "a reader who may also export everything that a search finds",
    "auditor": "an exporter who may also have the stores verified",
}


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of a token. `chains`: names, or `*` alone; `tenant` None: all tenants' entries and the log's own."""

    id: str
    name: str
    sha256: str
    role: Role
    chains: tuple[str, ...]
    created_at: datetime
    created_by: str
    tenant: str | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it may be used."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def may(self, role: Role) -> bool:
        """Whether its role includes this one."""
        order = list(ROLES)
        return order.index(self.role) >= order.index(role)

    def sees(self, chain: str) -> bool:
        """Whether it may read this chain."""
        return ALL_CHAINS in self.chains or chain in self.chains

    def state(self, now: datetime) -> str:
        """In a word."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.counts(now) else "expired"


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    v: Literal[1]
    tokens: list[Token]


def new_token() -> tuple[str, str, str]:
    """A token's id, the token itself (to be shown once) and the hash to be kept."""
    token_id = secrets.token_hex(_ID_BYTES)
    token = f"{PREFIX}{token_id}_{secrets.token_hex(_SECRET_BYTES)}"
    return token_id, token, _hashed(token)


def _hashed(token: str) -> str:
    return sha256(token.encode(errors="replace")).hexdigest()


class TokenFile:
    """The file of tokens; one that is not there holds none. Used by any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def tokens(self) -> list[Token]:
        """All tokens, as the file says now. Raises `Misconfigured` when it can't be trusted or read."""
        return list(self._current().values())

    def found(self, presented: str, now: datetime) -> Token | None:
        """The token that counts and is this one; None: there is none. A wrong secret takes as long as a right one."""
        digest = _hashed(presented[:_LONGEST])
        token_id = presented[len(PREFIX) :].partition("_")[0] if presented.startswith(PREFIX) else ""
        token = self._current().get(token_id)
        same = hmac.compare_digest(digest, "0" * 64 if token is None else token.sha256)
        if token is None or not same or len(presented) > _LONGEST or not token.counts(now):
            return None
        return token

    def stands(self, token: Token, now: datetime) -> bool:
        """Whether this token, found before, still counts and has the bounds that it had."""
        return token.counts(now) and self._current().get(token.id) == token

    def change(self, work: Callable[[list[Token]], list[Token]]) -> None:
        """Put what `work` makes of the tokens in their place; of two who change them at once, one waits."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            kept = _Kept(1, work(self.tokens()))
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

    def _current(self) -> dict[str, Token]:
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    found = os.fstat(file.fileno())
                    seen = (found.st_ino, found.st_mtime_ns, found.st_size)
                    if seen != self._seen:
                        self._tokens = self._read(file.read(), found.st_mode)
                        self._seen = seen
            except FileNotFoundError:
                self._tokens, self._seen = {}, None
            except OSError as error:
                raise Misconfigured(f"tokens file {self.path} can't be read: {error}") from error
            return self._tokens

    def _read(self, data: bytes, mode: int) -> dict[str, Token]:
        if mode & 0o022:
            raise Misconfigured(
                f"tokens file {self.path} may be written by others (mode {mode & 0o777:o}), who could make themselves "
                f"tokens: expected its owner alone; chmod 600 {self.path}, and look at `sealstream tokens list`"
            )
        try:
            kept = msgspec.json.decode(data, type=_Kept)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Misconfigured(f"tokens file {self.path} is not as `sealstream tokens` writes it: {error}") from error
        return {token.id: token for token in kept.tokens}
