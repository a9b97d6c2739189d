"""Canonical JSON: RFC 8785 (JCS) bytes, a strict parser, and the question whether bytes are canonical.

The invariant is a fixed point: `canonical_json(parse_json(data)) == data` for every `data` that `canonical_json`
wrote, in any language. Two roads lead to the same bytes. The fast one is msgspec with sorted keys. It differs from RFC
8785 in three things only: how it writes floats (so each is handed to it as the text that the `rfc8785` package gives),
integers beyond 2^53-1, and the order of names when UTF-16 and code points order them differently, which takes a name
with a character of U+E000 or above, in UTF-8 a byte of 0xEE or above. Whatever might be one of the last two takes the
slow road, the `rfc8785` package alone. Property tests hold the roads together.

Pure functions: a crash leaves nothing behind.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec
import rfc8785

from sealstream.errors import NotCanonical

__all__ = ["MAX_SAFE_INTEGER", "canonical_decoded", "canonical_json", "is_canonical", "parse_json"]

MAX_SAFE_INTEGER = 2**53 - 1

_encode = msgspec.json.Encoder(order="sorted").encode
_beyond_ordinary = re.compile(rb"[\xee-\xff]").search
# All digits become "0", all other bytes stay: a run of sixteen is the least that 2^53 needs.
_digits_as_zero = bytes.maketrans(b"123456789", b"000000000")
_SIXTEEN_DIGITS = b"0" * 16


def _float_as_text(text: str) -> msgspec.Raw:
    return _raw_number(float(text))


def _raw_number(number: float) -> msgspec.Raw:
    """The number as RFC 8785 writes it, in a form that msgspec writes as it is."""
    _check_float(number)
    return msgspec.Raw(rfc8785.dumps(number))


_decode = msgspec.json.Decoder(float_hook=_float_as_text).decode


def canonical_json(value: object) -> bytes:
    """The RFC 8785 bytes of `value`: dict with str keys, list or tuple, str, int, float, bool, None, nested.

    Raises `NotCanonical` for NaN and infinities, for numbers whose value is an integer beyond +-(2^53-1) whichever
    type holds them, for lone surrogates, other types, and nesting that the interpreter can't follow.
    """
    try:
        return canonical_decoded(value if _all_plain(value) else _with_written_floats(value))
    except RecursionError as error:
        raise NotCanonical("nested too deeply") from error


def canonical_decoded(value: object) -> bytes:
    """The same for what a JSON decoder that refuses floats and wide integers has made: `value` is not walked again.

    The caller vouches that `value` holds no float, no integer beyond +-(2^53-1) and nothing but JSON's types.
    """
    try:
        data = _encode(value)
    except (UnicodeEncodeError, RecursionError, TypeError) as error:
        raise NotCanonical(f"no canonical form: {error}") from error
    if data.isascii() or _beyond_ordinary(data) is None or _names_in_ascii(value):
        return data
    return _slow(parse_json(data))


def parse_json(data: bytes) -> Any:
    """What `data` says, read strictly: UTF-8 without BOM, RFC 8259, every name once in its object.

    Raises `NotCanonical` for a repeated name at any depth, a lone surrogate, NaN and infinities (also `1e400`),
    invalid or overlong UTF-8, unescaped control characters, integers beyond +-(2^53-1) however written (`1e20`),
    trailing bytes, and nesting that the interpreter can't follow.
    """
    try:
        text = data.decode("utf-8")  # Python's decoder refuses overlong forms and encoded surrogates
    except UnicodeDecodeError as error:
        raise NotCanonical(f"not UTF-8: {error.reason} at byte {error.start}") from error
    if text.startswith("\ufeff"):
        raise NotCanonical("begins with a byte order mark: expected UTF-8 without BOM")
    try:
        value = _strict_decoder.decode(text)
        if "\\u" in text:  # the only way for a lone surrogate to come in
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise NotCanonical(f"not JSON: {error.msg} at character {error.pos}") from error
    except UnicodeEncodeError as error:
        raise NotCanonical("a lone surrogate: expected UTF-16 surrogates in pairs") from error
    except RecursionError as error:
        raise NotCanonical("nested too deeply") from error
    return value


def is_canonical(data: bytes) -> bool:
    """Whether `data` is JSON in its RFC 8785 form: JCS(parse(data)) == data."""
    try:
        if _SIXTEEN_DIGITS not in data.translate(_digits_as_zero):
            value = _decode(data)
            written = _encode(value)
            if written.isascii() or _beyond_ordinary(written) is None or _names_in_ascii(value):
                return written == data
        return _slow(parse_json(data)) == data
    except (NotCanonical, msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def _all_plain(value: object) -> bool:
    """Whether msgspec and RFC 8785 agree on every leaf: no float, no wide integer, only JSON's types.

    That names are text is msgspec's to refuse.
    """
    pending = [value]
    for item in pending:  # grows while it is walked
        kind = type(item)
        if kind is dict:
            pending += [member for member in item.values() if type(member) is not str]  # type: ignore[attr-defined]
        elif kind is list or kind is tuple:
            pending += [member for member in item if type(member) is not str]  # type: ignore[attr-defined]
        elif kind is int:
            if not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:  # type: ignore[operator]
                return False
        elif not (kind is str or kind is bool or item is None):
            return False
    return True


def _names_in_ascii(value: object) -> bool:
    """Whether every name is ASCII, so that code points and UTF-16 units order the names of each object alike."""
    pending = [value]
    for item in pending:  # grows while it is walked
        if type(item) is dict:
            if not "".join(item).isascii():
                return False
            pending += item.values()
        elif type(item) is list or type(item) is tuple:
            pending += item
    return True


def _with_written_floats(value: object) -> object:
    """A copy of `value` with each float as the text that RFC 8785 gives. Raises `NotCanonical` for what has none."""
    kind = type(value)
    if kind is dict:
        return {_name(name): _with_written_floats(member) for name, member in value.items()}  # type: ignore[attr-defined]
    if kind is list or kind is tuple:
        return [_with_written_floats(member) for member in value]  # type: ignore[attr-defined]
    if kind is float:
        return _raw_number(value)  # type: ignore[arg-type]
    if kind is int and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:  # type: ignore[operator]
        raise NotCanonical(f"{_shortened(value)} is an integer beyond +-(2^53-1)")
    if not (kind is str or kind is int or kind is bool or value is None):
        raise NotCanonical(f"{kind.__name__} is not a type that JSON has")
    return value


def _slow(value: object) -> bytes:
    """RFC 8785 by the `rfc8785` package alone, of what the strict parser gave."""
    try:
        return rfc8785.dumps(value)  # type: ignore[no-any-return]
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise NotCanonical(f"no canonical form: {error}") from error
    except RecursionError as error:
        raise NotCanonical("nested too deeply") from error


def _name(name: object) -> str:
    if type(name) is not str:
        raise NotCanonical(f"a name must be text, got {type(name).__name__}")
    return name


def _check_float(number: float) -> None:
    """Finite, and exact when an integer: RFC 8785 would write 1e21, but 64-bit integers would not agree."""
    if not math.isfinite(number):
        raise NotCanonical(f"{number} is not a number that JSON has")
    if abs(number) > MAX_SAFE_INTEGER:  # every double beyond is an integer
        raise NotCanonical(f"{number} is an integer beyond +-(2^53-1)")


def _shortened(value: object) -> str:
    return hex(value) if isinstance(value, int) and value.bit_length() < 256 else "a number of very many digits"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise NotCanonical(f"the name {name!r} occurs twice in one object")
            seen.add(name)
    return members


def _integer(text: str) -> int:
    if len(text) > 17 or not -MAX_SAFE_INTEGER <= (number := int(text)) <= MAX_SAFE_INTEGER:
        raise NotCanonical(f"{text[:40]} is an integer beyond +-(2^53-1)")
    return number


def _float(text: str) -> float:
    number = float(text)
    _check_float(number)
    return number


def _constant(text: str) -> NoReturn:
    raise NotCanonical(f"{text} is not a number that JSON has")


_strict_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
