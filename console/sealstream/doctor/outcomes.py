"""What a check is, and what it found: pass, fail, or unknown where a store can't be asked. Pure.

The invariant: what could not be asked is never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sealstream.doctor.asking import Asking

__all__ = ["Check", "Outcome", "State", "failed", "folded", "passed", "unknown", "worst"]


class State(StrEnum):
    """Of a check the first three; of a control with no check at all the last."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_TESTABLE = "not testable by software"


class Outcome(NamedTuple):
    """`evidence`: what was seen, sentence by sentence; `to_do`: what mends it, empty where nothing need be done."""

    state: State
    evidence: tuple[str, ...]
    to_do: str = ""


class Check(NamedTuple):
    """One thing that is looked at. `title`: what holds when it passes; `how`: how the evidence is obtained.

    `ask` may raise a `SealstreamError`: the outcome is then unknown.
    """

    id: str
    title: str
    how: str
    ask: Callable[[Asking], Outcome]


def passed(*evidence: str) -> Outcome:
    """It holds."""
    return Outcome(State.PASS, evidence)


def failed(*evidence: str, to_do: str) -> Outcome:
    """It does not hold."""
    return Outcome(State.FAIL, evidence, to_do)


def unknown(*evidence: str, to_do: str) -> Outcome:
    """It could not be asked."""
    return Outcome(State.UNKNOWN, evidence, to_do)


def worst(states: Iterable[State]) -> State:
    """Fail before unknown before pass; of none at all: not testable."""
    found = set(states)
    return next((each for each in (State.FAIL, State.UNKNOWN, State.PASS) if each in found), State.NOT_TESTABLE)


def folded(outcomes: Iterable[tuple[str, Outcome]]) -> Outcome:
    """Several outcomes as one, each named by what it is about: the worst counts, and what mends it."""
    found = list(outcomes)
    state = worst(outcome.state for _, outcome in found)
    evidence = tuple(
        f"{about}: {sentence}" if about else sentence for about, outcome in found for sentence in outcome.evidence
    )
    to_do = "; ".join(
        dict.fromkeys(outcome.to_do for _, outcome in found if outcome.to_do and outcome.state != State.PASS)
    )
    return Outcome(state, evidence, to_do)
