"""What never leaves the process: passwords, tokens, card numbers, and what an application adds, become `[redacted]`.

Three rules, on every event of every road (client, outbox, frameworks), before it is made canonical:

- by name: the value of a member in `metadata`, `old_values` or `new_values`, at any depth, whose name says a secret
  (`password`, `dbPass`, `X-Api-Key`, `card_number`); truth values stay, since `password_changed` is none. Also
  where name and value stand side by side: `["Cookie", "..."]`, `{"name": "password", "value": "..."}`, and behind
  `--password` in a list;
- by path: `new_values.address.*`, where `*` is any one member or item;
- by pattern: within texts there and in `reason`: card numbers (by their check digit), JSON Web Tokens, bearer and
  basic credentials, passwords in URLs, private keys, `token=...` (up to a space, or within quotes), and the keys that
  begin with what their issuer has given them (`ghp_`, `sk_live_`, `AKIA`, ...).

The invariant: a value is replaced whole or a text's part by one word; nothing is hashed, since a password's digest can
be searched. The values given are never changed: what holds a secret is copied. Where nothing does, it costs some two
microseconds. Pure; nothing to lose in a crash.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from sealstream.errors import Misconfigured
from sealstream.events import MAX_NESTING

__all__ = ["REDACTED", "Redaction"]

REDACTED = "[redacted]"

# Matched as whole words of a name, however it is written; the second list also within a word ("userpassword").
_SECRET_WORDS = (
    "authorization bearer cookie cookies credential credentials csrf csrftoken cvc cvc2 cvv cvv2 jwt otp passcode pin "
    "pwd secret secrets sessionid token tokens totp"
)
_SECRET_PARTS = (
    "accesskey accesstoken apikey authtoken cardno cardnumber clientsecret creditcard idtoken passphrase passwd "
    "password privatekey refreshtoken secretkey securitycode sessionkey signingkey"
)
_WORDS, _PARTS = frozenset(_SECRET_WORDS.split()), _SECRET_PARTS.split()
_OBJECTS = ("metadata", "old_values", "new_values")
_BY_PATH = frozenset(
    (*_OBJECTS, "changed_fields", "ip_address", "reason", "resource_id", "session_id", "user_agent", "subject_id")
)
_SECRET_ENDS = ("secret", "token")  # "mysecret"
# "pass" alone, and behind whose password it is; not "bypass", "boarding_pass", "pass_count".
_PASS = re.compile("(?:^|admin|auth|db|ftp|ldap|login|mail|pg|proxy|redis|root|smtp|sql|ssh|sudo|user)pass[0-9]*$")
_CAMEL = re.compile("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATOR = re.compile("[^A-Za-z0-9]+")
_SHORTEST_TEXT = 8
_LONGEST_NAME = 64  # of a secret that is given beside its name
_MAX_VERDICTS = 4_096

_CARD = re.compile(  # ISO/IEC 7812-1: 13 to 19 digits, written together or in a card's groups
    r"(?<![\w.])(?:[2-6]\d{12,18}|[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3\d{3}([ -])\d{6}\2\d{5})(?!\w|\.\d)"
)
_DIGITS = re.compile(r"\d(?:\d{12}|\d{3}[ -]\d)")
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*")
_CREDENTIALS = re.compile(  # words of a language hold no digit, and no capital behind a small letter
    r"\b((?:[Bb]earer|BEARER|[Bb]asic|BASIC)\s+)"
    r"(?=[\w.~+/-]*[\d=]|[^a-z\s]*[a-z][^A-Z\s]*[A-Z])[\w.~+/=-]{8,}"
)
_ISSUED_BEGIN = ("gh", "glpat-", "xox", "k_live_", "k_test_", "AKIA", "AIza", "npm_", "slk_")
_ISSUED = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}|"
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|"
    r"npm_[A-Za-z0-9]{36}|slk_[A-Za-z0-9._-]{20,})"
)
_URL_PASSWORD = re.compile(r"(://[^\s/:@]{0,256}:)[^\s/]{1,4096}(?=@)")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ASSIGNED_WORDS = ("passw", "passphrase", "pwd", "secret", "token", "api", "cvv", "cvc")
_ASSIGNED = re.compile(
    r"((?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|cvv|cvc)[\"']?\s{0,8}[=:]\s{0,8})"
    r"(?!\[redacted\])(?:\"(?:\\.|[^\"\\])*\"?|'(?:\\.|[^'\\])*'?|[^\s\"'&,;}\]]+)",
    re.IGNORECASE,
)
_HARMLESS = (float, bool, type(None))


class Redaction:
    """What is redacted, beside the defaults (`defaults=False`: only what is given).

    `names`: more words of names. `keep`: names that are no secrets, as they are written (`max_tokens`). `paths`:
    places in the event, which begin with one of its fields. `patterns`: regular expressions in Python's notation; what
    one matches is replaced, or only its group `secret` where it has one. Raises `Misconfigured`.
    """

    def __init__(
        self,
        *,
        names: Collection[str] = (),
        keep: Collection[str] = (),
        paths: Collection[str] = (),
        patterns: Sequence[str | re.Pattern[str]] = (),
        defaults: bool = True,
    ) -> None:
        if isinstance(names, str) or isinstance(keep, str) or isinstance(paths, str) or isinstance(patterns, str):
            raise Misconfigured("redaction: expected lists of names, paths and patterns, got one text")
        self._names = {"".join(_words_of(name)) for name in names}
        self._keep = frozenset(keep)
        self._defaults = defaults
        self._paths = [_path(text) for text in paths]
        try:
            self._patterns = [re.compile(each) for each in patterns]
        except re.error as error:
            raise Misconfigured(f"redaction: {error.pattern!r} is no regular expression: {error}") from error
        self._verdicts: dict[str, bool] = {}

    @classmethod
    def none(cls) -> Self:
        """Nothing is redacted."""
        return cls(defaults=False)

    def redact(self, event: dict[str, Any]) -> None:
        """Replaces what must not leave, in the fields of `event`; objects in it are copied, not changed.

        Raises whatever objects of a strange kind raise when they are read.
        """
        for name in _OBJECTS:
            value = event.get(name)
            if value is not None:
                new = self._object(value, 1) if type(value) is dict else self._value(value, 1)
                if new is not value:
                    event[name] = new
        reason = event.get("reason")
        if reason is not None and isinstance(reason, str):
            event["reason"] = self.text(reason)
        for path in self._paths:
            if path == ("ip_address",):  # its field takes no such text
                event["ip_address"] = None
            elif event.get(path[0]) is not None:
                event[path[0]] = _at(event[path[0]], path[1:])

    def text(self, text: str) -> str:
        """The text without what the patterns find."""
        if self._defaults and len(text) >= _SHORTEST_TEXT:
            text = _without_defaults(text)
        for pattern in self._patterns:
            text = pattern.sub(_found, text)
        return text

    def is_secret(self, name: str) -> bool:
        """Whether what is called so is redacted."""
        verdict = self._verdicts.get(name)
        if verdict is None:
            if len(self._verdicts) >= _MAX_VERDICTS:  # strangers may choose names
                self._verdicts.clear()
            verdict = self._verdicts[name] = self._judged(name)
        return verdict

    def _judged(self, name: str) -> bool:
        if name in self._keep:
            return False
        words = _words_of(name)
        squeezed = "".join(words)
        if self._defaults and (
            not _WORDS.isdisjoint(words)
            or any(part in squeezed for part in _PARTS)
            or _PASS.search(squeezed) is not None
            or any(each.rstrip("0123456789").endswith(_SECRET_ENDS) for each in words)
            or any(each.rstrip("0123456789") in _WORDS for each in words)
        ):
            return True
        return bool(self._names) and (squeezed in self._names or not self._names.isdisjoint(words))

    def _value(self, value: Any, depth: int) -> Any:
        """The same object where it holds no secret."""
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is int:
            large = value > 999_999_999_999  # a card's number has 13 digits or more
            return REDACTED if large and self.text(str(value)) == REDACTED else value
        if kind in _HARMLESS or depth > MAX_NESTING:  # deeper, no event holds it
            return value
        if kind is dict or isinstance(value, Mapping):
            return self._object(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            items = [self._value(item, depth + 1) for item in value]
            if isinstance(value, list | tuple):
                self._redact_named(value, items)
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else items
        return value

    def _object(self, value: Mapping[Any, Any], depth: int) -> Any:
        known, is_secret = self._verdicts.get, self.is_secret
        redacted: dict[Any, Any] | None = None
        for name, member in value.items():
            if member is None or member is True or member is False:
                continue
            verdict = known(name)
            if verdict or (verdict is None and type(name) is str and is_secret(name)):
                new: Any = REDACTED
            elif type(member) is int and member < 1_000_000_000_000:
                continue
            else:
                new = self._value(member, depth + 1)
            if new is not member:
                if redacted is None:
                    redacted = dict(value)
                redacted[name] = new
        if "value" in value and isinstance(label := value.get("name", value.get("key")), str) and is_secret(label):
            redacted = {**(value if redacted is None else redacted), "value": REDACTED}
        return value if redacted is None else redacted

    def _redact_named(self, value: Sequence[Any], items: list[Any]) -> None:
        """Behind a secret's name in a list: the other of two, or what follows an option of a command."""
        for place, name in enumerate(value[:-1]):
            if type(name) is str and len(name) <= _LONGEST_NAME and (len(value) == 2 or name.startswith("--")):
                named = value[place + 1]
                if isinstance(named, str | int | float) and not isinstance(named, bool) and self.is_secret(name):
                    items[place + 1] = REDACTED


def _words_of(name: str) -> list[str]:
    if name.islower() and name.isalnum():
        return [name]
    return _SEPARATOR.sub(" ", _CAMEL.sub(" ", name[:256])).lower().split()


def _path(text: str) -> tuple[str, ...]:
    path = tuple(text.split("."))
    if path[0] not in _BY_PATH or not all(path) or (len(path) > 1 and path[0] not in _OBJECTS):
        raise Misconfigured(
            f"redaction: path {text!r}: expected one of {', '.join(sorted(_BY_PATH))}, and below "
            f"{', '.join(_OBJECTS)} names with dots between, or *"
        )
    return path


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """`value` with what is at the path redacted; the same object where nothing is there."""
    if not path:
        if isinstance(value, Mapping):
            return dict.fromkeys(value, REDACTED)
        return [REDACTED] if isinstance(value, list | tuple | set) else REDACTED
    step, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        new = dict(value)
        for name, member in value.items():
            if member is not None and step in ("*", str(name)):
                new[name] = _at(member, rest) if rest else REDACTED
        return new
    if isinstance(value, list | tuple):
        return [
            (_at(item, rest) if rest else REDACTED) if item is not None and step in ("*", str(index)) else item
            for index, item in enumerate(value)
        ]
    return value


def _without_defaults(text: str) -> str:
    """Each pattern is tried only where a look at the text says that it may be there."""
    if len(text) >= 13 and _DIGITS.search(text) is not None:
        text = _CARD.sub(_card, text)
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    if len(text) >= 15 and any(map(text.__contains__, _ISSUED_BEGIN)):
        text = _ISSUED.sub(REDACTED, text)
    spaced, assigned = " " in text or "\t" in text, "=" in text or ":" in text
    if not (spaced or assigned):
        return text
    lower = text.lower()
    if spaced and ("bearer" in lower or "basic" in lower):
        text = _CREDENTIALS.sub(rf"\g<1>{REDACTED}", text)
    if "private key-----" in lower:
        text = _PRIVATE_KEY.sub(REDACTED, text)
    if assigned:
        if any(map(lower.__contains__, _ASSIGNED_WORDS)):
            text = _ASSIGNED.sub(rf"\g<1>{REDACTED}", text)
        if "://" in text and "@" in text:
            text = _URL_PASSWORD.sub(rf"\g<1>{REDACTED}", text)
    return text


def _card(found: re.Match[str]) -> str:
    digits = [int(each) for each in found[0] if each.isdigit()]
    odd = sum(digits[-1::-2])
    even = sum(sum(divmod(2 * each, 10)) for each in digits[-2::-2])
    return REDACTED if (odd + even) % 10 == 0 else found[0]  # ISO/IEC 7812-1, annex B


def _found(found: re.Match[str]) -> str:
    if "secret" not in found.re.groupindex or found["secret"] is None:
        return REDACTED
    first, last = found.span("secret")
    start = found.start()
    return f"{found[0][: first - start]}{REDACTED}{found[0][last - start :]}"
