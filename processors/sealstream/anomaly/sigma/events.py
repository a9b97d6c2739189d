"""An event rule: each entry that its condition holds for is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from sigma.rule import SigmaRule
from sigma.rule.attributes import SigmaLevel

from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.sigma.matching import Matches
from sealstream.anomaly.sigma.seeing import sights
from sealstream.layout.activity import Activity, AddressActivity
from sealstream.layout.alerts import Severity

__all__ = ["EventRule", "rule_key", "severity_of", "subject_terms"]

_QUIET_S = 300
_SEVERITIES: dict[str, Severity] = {
    "INFORMATIONAL": "low",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "CRITICAL": "critical",
}


class _State(msgspec.Struct):
    """`quiet_until`: what follows at once is the same episode."""

    quiet_until: int = 0


class EventRule:
    """A detector of entries of one actor. An episode, five minutes long, raises one alert."""

    state = _State
    thresholds = Thresholds()

    def __init__(self, rule: SigmaRule, matches: Matches) -> None:
        self.name = f"sigma_{rule_key(rule)}"
        self.says = rule.title
        self.subject: Literal["actor", "address"] = "actor"
        self.rule = rule_key(rule)
        self._severity = severity_of(rule.level)
        self._matches = matches

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        found = [each for each in sights(seen) if self._matches(each.facts)]
        if not found or second < state.quiet_until:
            return state, ()
        state.quiet_until = second + _QUIET_S
        count = sum(each.entries for each in found)
        actions = ", ".join(sorted({str(each.facts["action"]) for each in found})[:3])
        finding = Finding(
            severity=self._severity,
            confidence=0.8,
            summary=f"{self.says}: {count} {'entry' if count == 1 else 'entries'} of {seen.actor_id} ({actions})",
            window=(second, second),
            key_s=second - second % _QUIET_S,
            query=window_query(seen.chain, second, second, *subject_terms(seen)),
            score=1.0,
            seen={"entries": count},
            usual={},
            seqs=merged_ranges(pair for each in found for pair in each.seqs),
        )
        return state, (finding,)


def severity_of(level: SigmaLevel | None) -> Severity:
    """A rule without a level is of medium severity."""
    return "medium" if level is None else _SEVERITIES[level.name]


def rule_key(rule: SigmaRule) -> str:
    """What a rule is called by other rules: its name, else its id, else its title."""
    return str(rule.name or rule.id or rule.title)


def subject_terms(seen: Activity | AddressActivity) -> tuple[str, ...]:
    """What of a search names the subject."""
    if isinstance(seen, AddressActivity):
        return (f"ip:{seen.ip_address}",)
    return (f"actor:{quoted(seen.actor_id)}",)
