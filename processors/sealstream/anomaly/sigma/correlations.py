"""A correlation: so many entries, so many different values, or several rules in turn, within a time span.

What it remembers is bounded: counts are kept in at most `_BUCKETS` runs of seconds, so that a time span of a day is
exact to half a minute; values in at most `MAX_VALUES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationType,
)

from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, window_query
from sealstream.anomaly.sigma.events import severity_of, subject_terms
from sealstream.anomaly.sigma.faults import CantRun
from sealstream.anomaly.sigma.matching import Matches
from sealstream.anomaly.sigma.seeing import Sight, sights
from sealstream.layout.activity import Activity, AddressActivity

__all__ = ["VALUE_FIELDS", "Correlation"]

MAX_VALUES = 1_000
VALUE_FIELDS = {
    "actor": ("action", "ip_address", "resource_id", "resource_type", "tenant"),
    "address": ("action", "actor_id"),
}
_BUCKETS = 2_880
_LONGEST_S = 7 * 86_400
_RANGES = 50


class _State(msgspec.Struct, omit_defaults=True):
    """`counts`: (second, entries). `values`: each value's last second. `turns`: by rule, the second in which the
    latest run of rules up to it began, and (in time, unordered) in which it was last seen. `seqs`: what is counted.
    """

    counts: list[tuple[int, int]] = []
    values: dict[str, int] = {}
    turns: dict[str, int] = {}
    seqs: list[tuple[int, int, int]] = []
    quiet_until: int = 0


class Correlation:
    """A detector made of a correlation rule and the conditions of the rules that it refers to, in their order."""

    state = _State
    thresholds = Thresholds()

    def __init__(
        self, key: str, rule: SigmaCorrelationRule, matches: Sequence[Matches], subject: Literal["actor", "address"]
    ) -> None:
        self.name = f"sigma_{key}"
        self.says = rule.title
        self.subject = subject
        self.rule = key
        self._severity = severity_of(rule.level)
        self._matches = list(matches)
        self._span_s = rule.timespan.seconds
        if self._span_s > _LONGEST_S:
            raise CantRun(f"timespan {rule.timespan.spec} is too long: expected at most 7d", "correlation", "timespan")
        self._step_s = max(1, self._span_s // _BUCKETS)
        self._least, self._field = 1, ""
        self._reached: Callable[[_State, list[tuple[int, Sight]], int], int] = _KINDS.get(rule.type, _unknown)(self)
        if rule.type in (SigmaCorrelationType.EVENT_COUNT, SigmaCorrelationType.VALUE_COUNT):
            self._least, self._field = _least(rule, subject)
        else:
            if not isinstance(rule.condition, SigmaCorrelationCondition):
                raise CantRun("a condition with and, or, not can't be run: leave it out", "correlation", "condition")
            self._least = len(self._matches)

    def detect(self, state: _State, seen: Activity | AddressActivity, second: int) -> tuple[_State, Sequence[Finding]]:
        found = [
            (number, sight)
            for sight in sights(seen)
            for number, matches in enumerate(self._matches)
            if matches(sight.facts)
        ]
        if not found:
            return state, ()
        oldest = second - self._span_s
        state.seqs = [each for each in state.seqs if each[0] > oldest][-_RANGES:]
        state.seqs += [(second, first, last) for _, sight in found for first, last in sight.seqs]
        reached = self._reached(state, found, second)
        if reached < self._least or second < state.quiet_until:
            return state, ()
        state.quiet_until = second + self._span_s
        begin = min(each[0] for each in state.seqs)
        subject = seen.ip_address if isinstance(seen, AddressActivity) else seen.actor_id
        finding = Finding(
            severity=self._severity,
            confidence=0.8,
            summary=f"{self.says}: {self._words(reached)} of {subject} in {second - begin + 1} s",
            window=(begin, second),
            key_s=second - second % self._span_s,
            query=window_query(seen.chain, begin, second, *subject_terms(seen)),
            score=reached / self._least,
            seen={self._field or "entries": reached},
            usual={},
            seqs=merged_ranges([first, last] for _, first, last in state.seqs),
        )
        return state, (finding,)

    def count_entries(self, state: _State, found: list[tuple[int, Sight]], second: int) -> int:
        """How many entries of the span match, this second's among them."""
        step = second - second % self._step_s
        counted: dict[int, int] = {}
        for _, sight in found:  # an entry that several of the rules match is one entry
            counted[id(sight)] = sight.entries
        kept = [each for each in state.counts if each[0] > second - self._span_s and each[0] != step]
        before = next((count for at, count in state.counts if at == step), 0)
        state.counts = [*kept, (step, before + sum(counted.values()))]
        return sum(count for _, count in state.counts)

    def count_values(self, state: _State, found: list[tuple[int, Sight]], second: int) -> int:
        """How many different values of the span there are."""
        for _, sight in found:
            values = sight.resources if self._field == "resource_id" else [sight.facts.get(self._field)]
            for value in values:
                if value is not None:
                    state.values.pop(value, None)
                    state.values[value] = second
        fresh = [each for each in state.values.items() if each[1] > second - self._span_s]
        state.values = dict(fresh[-MAX_VALUES:])
        return len(state.values)

    def count_rules(self, state: _State, found: list[tuple[int, Sight]], second: int) -> int:
        """How many of the rules have matched within the span, in any order."""
        for number, _ in found:
            state.turns[str(number)] = second
        return sum(second - at < self._span_s for at in state.turns.values())

    def count_turns(self, state: _State, found: list[tuple[int, Sight]], second: int) -> int:
        """How many of the rules have matched within the span, one after another in their order."""
        for number, _ in sorted(found, key=lambda each: (each[1].seqs[0][0], each[0])):
            begun = second if number == 0 else state.turns.get(str(number - 1))
            if begun is not None and second - begun < self._span_s:
                state.turns[str(number)] = begun
        return max((int(turn) + 1 for turn, at in state.turns.items() if second - at < self._span_s), default=0)

    def _words(self, reached: int) -> str:
        if self._field:
            return f"{reached} different {self._field}"
        return f"{reached} entries" if self._reached == self.count_entries else f"all {reached} rules matched"


def _unknown(_correlation: Correlation) -> Callable[[_State, list[tuple[int, Sight]], int], int]:
    raise CantRun(
        "this type of correlation can't be run: expected event_count, value_count, temporal or temporal_ordered",
        "correlation",
        "type",
    )


_KINDS: dict[SigmaCorrelationType, Callable[[Correlation], Callable[[_State, list[tuple[int, Sight]], int], int]]] = {
    SigmaCorrelationType.EVENT_COUNT: lambda each: each.count_entries,
    SigmaCorrelationType.VALUE_COUNT: lambda each: each.count_values,
    SigmaCorrelationType.TEMPORAL: lambda each: each.count_rules,
    SigmaCorrelationType.TEMPORAL_ORDERED: lambda each: each.count_turns,
}


def _least(rule: SigmaCorrelationRule, subject: str) -> tuple[int, str]:
    """How many are needed, and of which field's values (none: entries). Raises `CantRun`."""
    condition = rule.condition
    assert isinstance(condition, SigmaCorrelationCondition)  # pySigma refuses others for these types
    operators = SigmaCorrelationConditionOperator
    if condition.op not in (operators.GTE, operators.GT):
        raise CantRun(
            "a count that is at most or exactly so many can't be seen on a stream: expected gte or gt",
            "correlation",
            "condition",
        )
    least = int(condition.count) + (condition.op is operators.GT)
    if rule.type is SigmaCorrelationType.EVENT_COUNT:
        return max(1, least), ""
    field = condition.fieldref if isinstance(condition.fieldref, str) else ""
    if field not in VALUE_FIELDS[subject]:
        raise CantRun(
            f"values of {field or 'several fields'} can't be counted of an {subject}: "
            f"expected one of {', '.join(VALUE_FIELDS[subject])}",
            "correlation",
            "condition",
        )
    if least > MAX_VALUES:
        raise CantRun(f"at most {MAX_VALUES} values are remembered", "correlation", "condition")
    return max(1, least), field
