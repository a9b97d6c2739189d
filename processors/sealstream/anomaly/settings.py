"""Detectors' thresholds by name, as settings and `detector.threshold=value` give them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from sealstream.anomaly.detectors import DETECTORS
from sealstream.errors import Misconfigured

__all__ = ["Bounds", "bounds_of", "checked_thresholds", "thresholds_of"]


class Bounds(NamedTuple):
    """What a number may be; None: anything."""

    gt: float | None = None
    ge: float | None = None
    le: float | None = None


_LONGEST_DAYS = 3_650


def thresholds_of(assignments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """`detector.threshold=value` each; values as JSON. Raises `Misconfigured` that names the one at fault."""
    given: dict[str, dict[str, Any]] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        detector, dot, threshold = name.strip().partition(".")
        if not equals or not dot or not threshold:
            raise Misconfigured(f"{text}: expected detector.threshold=value, as failed_login_burst.failures=5")
        try:
            given.setdefault(detector, {})[threshold] = msgspec.json.decode(value.strip().encode())
        except msgspec.DecodeError:
            given.setdefault(detector, {})[threshold] = value.strip()
    checked_thresholds(given)
    return given


def checked_thresholds(given: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises `Misconfigured` for a detector or threshold that there is not, or a value that it can't have."""
    for detector, thresholds in given.items():
        kind = DETECTORS.get(detector)
        if kind is None:
            raise Misconfigured(f"there is no detector {detector}{_meant(detector, DETECTORS)}")
        known = msgspec.structs.asdict(kind.thresholds)
        for name, value in thresholds.items():
            if name not in known:
                raise Misconfigured(f"{detector} has no threshold {name}{_meant(name, known)}")
            try:
                msgspec.convert(known | {name: value}, type(kind.thresholds))
            except msgspec.ValidationError as error:
                expected = str(error).partition(" - at")[0]
                raise Misconfigured(f"{detector}.{name}: {expected[:1].lower()}{expected[1:]}: {value!r}") from error
            bounds = bounds_of(name, known[name])
            for word, bound, beyond in (
                ("above", bounds.gt, bounds.gt is not None and value <= bounds.gt),
                ("at least", bounds.ge, bounds.ge is not None and value < bounds.ge),
                ("at most", bounds.le, bounds.le is not None and value > bounds.le),
            ):
                if beyond:
                    raise Misconfigured(f"{detector}.{name}: expected {word} {bound:g}, got {value:g}")


def bounds_of(name: str, default: object) -> Bounds:
    """What a threshold's number may be: a part of a whole at most 1, a span at most ten years, nothing below 0; and 0
    only what is a least, a factor, or 0 by itself: of a count or a span it would mean that everything is unusual.
    """
    if isinstance(default, bool) or not isinstance(default, int | float):
        return Bounds()
    most: float | None = 1 if isinstance(default, float) and 0 < default < 1 else None
    if name.endswith(("_s", "_days")):
        most = _LONGEST_DAYS if name.endswith("_days") else _LONGEST_DAYS * 86_400
    may_be_0 = default == 0 or name.startswith("min_") or name.endswith(("factor", "bits", "deviations"))
    return Bounds(ge=0, le=most) if may_be_0 else Bounds(gt=0, le=most)


def _meant(name: str, known: Iterable[str]) -> str:
    listed = list(known)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(listed)}"
