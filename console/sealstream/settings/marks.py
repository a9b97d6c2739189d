"""What a field of the settings says about itself beside its type, as `Annotated[str, Secret()]`; and masking. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MASK", "InFolder", "Secret", "SecretKeys", "masked"]

MASK = "********"
# To the last '@', since a password may hold one: rather too much is hidden than too little.
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://[^:@/?#]*):.*@", re.DOTALL)
_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Secret:
    """Never shown, and it can be read from a file: `<name>_file`. `url`: only the password in it is hidden."""

    url: bool = False


@dataclass(frozen=True)
class SecretKeys:
    """Of a table of options: the keys whose values are secrets, by their name or by a word within it.

    Whoever names the options may add one tomorrow; so what sounds like a secret is taken for one.
    """

    keys: frozenset[str]
    words: tuple[str, ...] = ()

    def hold(self, key: str) -> bool:
        """Whether this option's value is a secret."""
        return key in self.keys or any(word in key.lower() for word in self.words)


@dataclass(frozen=True)
class InFolder:
    """A path that is relative to the folder of the settings file."""


def masked(value: object, secret: Secret) -> str:
    """The value as anybody may see it; an empty one stays empty."""
    text = str(value)
    if not text:
        return text
    if not secret.url or not _URL.match(text):
        return MASK
    return _PARAMETER.sub(rf"\1{MASK}", _USERINFO.sub(rf"\1:{MASK}@", text))
