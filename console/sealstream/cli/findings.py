"""What a check found: one line each, with what to do where something is wrong. Pure, but for running checks at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sealstream.errors import SealstreamError

__all__ = ["Finding", "any_wrong", "found_by", "ok", "skipped", "warning", "wrong"]

Check = Callable[[], Sequence["Finding"]]


class Finding(NamedTuple):
    """`state`: ok, warning, wrong, or skipped. `about`: "kafka", "postgres sink". `to_do`: empty where nothing is."""

    state: str
    about: str
    said: str
    to_do: str = ""


def ok(about: str, said: str) -> Finding:
    """It is as it must be."""
    return Finding("ok", about, said)


def skipped(about: str, said: str) -> Finding:
    """It can't be asked, or is not meant to be here."""
    return Finding("skipped", about, said)


def warning(about: str, said: str, to_do: str) -> Finding:
    """It works, and should be mended all the same."""
    return Finding("warning", about, said, to_do)


def wrong(about: str, said: str, to_do: str = "") -> Finding:
    """It does not work."""
    return Finding("wrong", about, said, to_do)


def any_wrong(findings: Iterable[Finding]) -> bool:
    """Whether a process would fail."""
    return any(finding.state == "wrong" for finding in findings)


def found_by(checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """What all the checks find, asked at the same time, in their own order. An error of ours is a finding."""

    def run(check: tuple[str, Check]) -> Sequence[Finding]:
        about, find = check
        try:
            return find()
        except SealstreamError as error:
            return [wrong(about, str(error))]

    if not checks:
        return []
    with ThreadPoolExecutor(len(checks)) as pool:
        return [finding for findings in pool.map(run, checks) for finding in findings]
