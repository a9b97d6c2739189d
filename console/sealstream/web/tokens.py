"""Tokens for the API: what one may see, and the file that knows them (`credentials` keeps it)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sealstream.web.credentials import Credential, CredentialFile, new_secret

__all__ = ["ALL_CHAINS", "ROLES", "Role", "Token", "TokenFile", "new_token"]

ALL_CHAINS = "*"
PREFIX = "slt_"

Role = Literal["reader", "exporter", "auditor"]
ROLES: dict[Role, str] = {
    "reader": "searches and reads entries, chains and checkpoints",
    "exporter": "a reader who may also export everything that a search finds",
    "auditor": "an exporter who may also have the stores verified",
}


class Token(Credential, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept of a token. `chains`: names, or `*` alone; `tenant` None: all tenants' entries and the log's own."""

    role: Role
    chains: tuple[str, ...]
    tenant: str | None = None

    def may(self, role: Role) -> bool:
        """Whether its role includes this one."""
        order = list(ROLES)
        return order.index(self.role) >= order.index(role)

    def sees(self, chain: str) -> bool:
        """Whether it may read this chain."""
        return ALL_CHAINS in self.chains or chain in self.chains


def new_token() -> tuple[str, str, str]:
    """A token's id, the token itself (to be shown once) and the hash to be kept."""
    return new_secret(PREFIX)


class TokenFile(CredentialFile[Token]):
    """The file of tokens; one that is not there holds none."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Token, prefix=PREFIX, member="tokens", command="sealstream tokens")

    def tokens(self) -> list[Token]:
        """All tokens, as the file says now. Raises `Misconfigured` when it can't be trusted or read."""
        return self.all()
