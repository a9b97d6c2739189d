"""Keys of the collector: what the holder of one may claim, and the file that knows them by their hashes alone.

A key is `slk_<id>_<secret>`, or a client's certificate, which is known by its SHA-256. Each is tied to one chain, to
a tenant or to none, and to the types of actor that its events may name. `web.credentials` keeps the file.
"""

from __future__ import annotations

import hmac
from datetime import datetime
from pathlib import Path

from sealstream.events import FIELDS
from sealstream.web.credentials import Credential, CredentialFile, new_secret

__all__ = ["ACTOR_TYPES", "PREFIX", "Key", "KeyFile", "new_key"]

ACTOR_TYPES = FIELDS["actor_type"].choices
PREFIX = "slk_"


class Key(Credential, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of a key. `tenant` None: events may name any; `actor_types`: those that they may claim.

    `certificate`: `sha256` is that of a certificate (DER).
    """

    chain: str
    actor_types: tuple[str, ...]
    tenant: str | None = None
    certificate: bool = False

    @property
    def identity(self) -> str:
        """How `source.authenticated_as` names it."""
        return f"{'certificate' if self.certificate else 'key'} {self.id} ({self.name})"


def new_key() -> tuple[str, str, str]:
    """A key's id, the key itself (to be shown once) and the hash to be kept."""
    return new_secret(PREFIX)


class KeyFile(CredentialFile[Key]):
    """The file of keys; one that is not there holds none."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Key, prefix=PREFIX, member="keys", command="sealstream collect keys")

    def found(self, presented: str, now: datetime) -> Key | None:
        """The key that counts and is this one; a certificate's line is no key, whatever is presented."""
        key = super().found(presented, now)
        return None if key is None or key.certificate else key

    def of_certificate(self, sha256: str, now: datetime) -> Key | None:
        """What the holder of the certificate with this SHA-256 (hex) may do; None: nothing."""
        for key in self.all():
            if key.certificate and hmac.compare_digest(key.sha256, sha256) and key.counts(now):
                return key
        return None
