"""Detectors' thresholds by name, as settings and `detector.threshold=value` give them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sealstream.anomaly.detectors import DETECTORS
from sealstream.errors import Misconfigured

__all__ = ["checked_thresholds", "thresholds_of"]


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
    """Raises `Misconfigured` for a detector or threshold that there is not, or a value of another type."""
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


def _meant(name: str, known: Iterable[str]) -> str:
    listed = list(known)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(listed)}"
