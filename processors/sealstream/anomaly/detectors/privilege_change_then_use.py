"""An account gets more rights, and then does what it never did and only few may do: a takeover climbs the ladder.

Rights that an account gives itself count for more than those that another gives it, which is how colleagues are
promoted: of those only what follows at once and is new for the account is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.actions import GRANT, POWER, is_named, traits, traits_of
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.habits import short
from sealstream.anomaly.runs import Run
from sealstream.anomaly.sketching import digest_of
from sealstream.anomaly.windows import add_ranges
from sealstream.anomaly.wording import counted, listed, span
from sealstream.layout.activity import ACCOUNT_TYPES, Activity, Cell

__all__ = ["PrivilegeChangeThenUse"]

_DAY_S = 86_400
_MOST_GRANTS = 8
_MOST_DEEDS = 48
_MOST_USES = 12
_MOST_RANGES = 4


class _Thresholds(Thresholds, frozen=True):
    """Use is what only few may do (or what `powers` names) and this account has not done in `keep_days`, and of an
    account that gave itself rights also anything else that it never did. It counts within `within_s` of a change of
    rights by another, `self_within_s` of one by itself, from `uses` different ones on. `grants`: names of actions that
    give rights without saying so by a word; `*` at the end stands for anything. `quiet_s`: no second alert.
    """

    within_s: int = 14_400
    self_within_s: int = 86_400
    uses: int = 1
    keep_days: int = 180
    quiet_s: int = 43_200
    grants: tuple[str, ...] = ()
    powers: tuple[str, ...] = ()


class _Grant(msgspec.Struct, array_like=True):
    """A change of rights. `by`: who made it, empty: the account itself."""

    second: int
    by: str
    action: str
    chain: str
    seqs: list[list[int]]


class _State(msgspec.Struct):
    """`deeds`: what the account has done, by name the day it last did. `grants`: the newest, the oldest first. `uses`:
    what followed them, with entries by chain.
    """

    deeds: dict[str, int] = {}
    grants: list[_Grant] = []
    uses: list[str] = []
    seqs: dict[str, list[list[int]]] = {}
    episode: Episode = msgspec.field(default_factory=Episode)


class PrivilegeChangeThenUse:
    """What an account does after its rights were changed, against what it did before."""

    name: ClassVar[str] = "privilege_change_then_use"
    says: ClassVar[str] = "an account gets more rights, and does what it never did"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        day, deeds = second // _DAY_S, state.deeds
        if not seen.received:
            for cell in seen.cells:
                if deeds.get(cell.action) != day and deeds.get(short(cell.action), 0) < day:
                    break
            else:
                if not traits_of(seen) & GRANT and not self.thresholds.grants:
                    return state, ()
        own_grants = self._note_grants(state, seen, second)
        grants = [each for each in state.grants if second - each.second <= self._within_s(each)]
        if not grants:
            state.grants, state.uses, state.seqs = [], [], {}
        found = []
        for cell in seen.cells:
            if cell.result != "success":
                continue
            name = short(cell.action)
            is_new = day - deeds.get(name, -self.thresholds.keep_days - 1) > self.thresholds.keep_days
            if is_new and grants and cell not in own_grants and self._is_use(grants, cell, seen.chain):
                found.append(cell)
            self._know(deeds, name, day)
        if not found:
            return state, ()
        for cell in found:
            if len(state.uses) < _MOST_USES:
                state.uses.append(short(cell.action))
            add_ranges(state.seqs, seen.chain, cell.seqs)
        if len(state.uses) < self.thresholds.uses or not state.episode.tells(second, self.thresholds.quiet_s):
            return state, ()
        return state, (self._finding(state, seen, second, grants),)

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """Without a change of rights, what is done is only noted."""
        day, deeds = run.day, state.deeds
        new = [
            (place, name)
            for kind, place in run.firsts.items()
            if kind.is_success and deeds.get(name := kind.action_name, 0) < day
        ]
        if (
            run.traits & GRANT
            or any(kind.traits & GRANT for kind in run.received_kinds)
            or self.thresholds.grants
            or state.grants
            or state.uses
            or state.seqs
            or (new and len(deeds) + len(new) > _MOST_DEEDS)
        ):
            yield from run.moments
            return
        for _, name in sorted(new):
            self._know(deeds, name, day)

    def _note_grants(self, state: _State, seen: Activity, second: int) -> list[Cell]:
        """Keep the changes of rights in this record; returns those that the account made itself."""
        names = self.thresholds.grants
        for each in seen.received:
            if each.result == "success" and (traits(each.action) & GRANT or is_named(each.action, names)):
                by, action = short(each.by), short(each.action)
                state.grants.append(_Grant(second, by, action, seen.chain, each.seqs[:_MOST_RANGES]))
        own = [
            cell
            for cell in seen.cells
            if cell.result == "success"
            and cell.resource_type in ACCOUNT_TYPES
            and (traits(cell.action) & GRANT or is_named(cell.action, names))
            and f"{digest_of(seen.actor_id):08x}" in cell.resources
        ]
        for cell in own:
            state.grants.append(_Grant(second, "", short(cell.action), seen.chain, cell.seqs[:_MOST_RANGES]))
        del state.grants[:-_MOST_GRANTS]
        return own

    def _within_s(self, grant: _Grant) -> int:
        return self.thresholds.within_s if grant.by else self.thresholds.self_within_s

    def _is_use(self, grants: Sequence[_Grant], cell: Cell, chain: str) -> bool:
        """Whether something that is new for the account makes use of any of these."""
        is_power = bool(traits(cell.action) & POWER) or is_named(cell.action, self.thresholds.powers)
        return any(
            (is_power or not grant.by) and (grant.chain != chain or grant.seqs[0][0] < cell.seqs[-1][1])
            for grant in grants
        )

    def _know(self, deeds: dict[str, int], name: str, day: int) -> None:
        if name not in deeds and len(deeds) >= _MOST_DEEDS:
            del deeds[min(deeds, key=lambda each: (deeds[each], each))]
        deeds[name] = max(day, deeds.get(name, 0))

    def _finding(self, state: _State, seen: Activity, second: int, grants: Sequence[_Grant]) -> Finding:
        own = [each for each in grants if not each.by]
        grant = (own or grants)[-1]
        after_s = max(second - grant.second, 0)
        begin = min(grant.second, second)
        used = sorted(set(state.uses))
        known = len(set(state.deeds) - set(used))
        terms = [f"action:{quoted(name)}" for name in used if not name.startswith("#")]
        return Finding(
            severity="critical" if own else "high" if after_s <= 3_600 or len(used) > 1 else "medium",
            confidence=min(0.95, (0.75 if own else 0.6) + 0.05 * len(used)),
            summary=(
                f"{seen.actor_id} did {listed(used)} for the first time {span(after_s)} after {grant.action} by "
                f"{grant.by or 'itself'}; usual {'is' if known == 1 else 'are'} {counted(known, 'other action')}"
            ),
            window=(begin, second),
            key_s=Episode.key_s(second, self.thresholds.quiet_s),
            query=window_query(
                sorted(state.seqs),
                begin,
                second,
                f"actor:{quoted(seen.actor_id)}",
                *(terms if len(terms) == len(used) else ()),
            ),
            score=len(used) / self.thresholds.uses,
            seen={
                "actions": ", ".join(used),
                "grant": grant.action,
                "by": grant.by or seen.actor_id,
                "grant_chain": grant.chain,
                "grant_seq": grant.seqs[0][0],
                "seconds": after_s,
            },
            usual={"actions": known, "keep_days": self.thresholds.keep_days},
            seqs=merged_ranges(state.seqs.get(seen.chain, ())),
        )
