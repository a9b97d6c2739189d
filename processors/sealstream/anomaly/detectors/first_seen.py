"""An actor comes from a network where it never was, or touches what it never touched: perhaps it is somebody else.

Anything new happens to everybody sometime. So each new thing weighs what it is worth for this actor, in bits: the
negative logarithm of how often its days bring something new of that kind. What comes within an hour is added up: a new
network alone is an ordinary journey, a new network from which a new kind of record is exported is not, nor is one from
which somebody comes at an hour at which this actor never works.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import msgspec

from sealstream.anomaly.actions import POWER, traits
from sealstream.anomaly.detecting import Finding, Thresholds, merged_ranges, quoted, window_query
from sealstream.anomaly.episodes import Episode
from sealstream.anomaly.habits import Habit, network_of, short
from sealstream.anomaly.hours import DayHours
from sealstream.anomaly.runs import Kind, Run
from sealstream.anomaly.windows import add_ranges
from sealstream.anomaly.wording import span
from sealstream.layout.activity import Activity, Cell

__all__ = ["FirstSeen"]

_HOUR_S = 3_600
_DAY_S = 86_400
_SHOWN_RANGES = 12
_MOST_NEW = 12
_KEYS = {"network": "ip", "address": "ip", "resource_type": "resource_type", "action": "action"}


class _Thresholds(Thresholds, frozen=True):
    """What is new within `window_s` is told from `bits` on, all of it together; a new action that only few may do
    weighs `power_bits` more, and a new network as much more as its hour is surprising, where that is `hour_bits` or
    more. Nothing is told, and nothing new counts, before `min_days` days of activity. Of a kind the newest `types`,
    `actions`, `networks`, `addresses` are known, each for `keep_days`. `quiet_s`: no second alert.
    """

    bits: float = 8.0
    power_bits: float = 2.0
    hour_bits: float = 4.0
    window_s: int = 3_600
    min_days: int = 5
    types: int = 32
    actions: int = 48
    networks: int = 24
    addresses: int = 32
    keep_days: int = 180
    quiet_s: int = 43_200


class _New(msgspec.Struct, array_like=True):
    """Something new. `kind`: a key of `_KEYS`; `is_power`: an action that only few may do; `hour_bits`: of a network,
    how surprising the hour was.
    """

    kind: str
    name: str
    bits: float
    is_power: bool = False
    hour_bits: float = 0.0


class _State(msgspec.Struct):
    """`active`: days of activity, the newest being `day`. `new`: what the hour from `since_s` on brought, with its
    entries by chain; `end_s`: the last of them. `hours`: of activity.
    """

    types: Habit = msgspec.field(default_factory=Habit)
    actions: Habit = msgspec.field(default_factory=Habit)
    networks: Habit = msgspec.field(default_factory=Habit)
    addresses: Habit = msgspec.field(default_factory=Habit)
    active: int = 0
    day: int = 0
    new: list[_New] = []
    since_s: int = 0
    end_s: int = 0
    seqs: dict[str, list[list[int]]] = {}
    episode: Episode = msgspec.field(default_factory=Episode)
    hours: DayHours = msgspec.field(default_factory=DayHours)


class FirstSeen:
    """What is new for an actor, by how seldom anything is."""

    name: ClassVar[str] = "first_seen"
    says: ClassVar[str] = "networks, addresses, resource types or actions that are new for an actor of settled habits"
    subject: ClassVar[Literal["actor", "address"]] = "actor"
    state = _State
    thresholds = _Thresholds()

    def detect(self, state: _State, seen: Activity, second: int) -> tuple[_State, Sequence[Finding]]:
        day, hour = second // _DAY_S, second // _HOUR_S
        if hour > state.hours.newest and any(cell.result == "success" and cell.hour is None for cell in seen.cells):
            state.hours.add(hour)
        types, actions, addresses = state.types.known, state.actions.known, state.addresses.known
        for cell in seen.cells:  # most were seen today, with names that need no shortening
            if (
                types.get(cell.resource_type) != day
                or actions.get(cell.action) != day
                or (cell.ip_address is not None and addresses.get(cell.ip_address) != day)
            ):
                break
        else:
            return state, ()
        unsettled = [
            cell
            for cell in seen.cells
            if cell.result == "success"
            and (
                types.get(short(cell.resource_type), 0) < day
                or actions.get(short(cell.action), 0) < day
                or (cell.ip_address is not None and addresses.get(cell.ip_address, 0) < day)
            )
        ]
        if not unsettled:
            return state, ()
        if day > state.day:
            state.active, state.day = state.active + 1, day
        is_new = False
        for cell in unsettled:
            is_new |= self._look(state, seen.chain, cell, second)
        if not is_new:
            return state, ()
        bits = self._bits(state.new)
        if bits < self.thresholds.bits or not state.episode.tells(second, self.thresholds.quiet_s):
            return state, ()
        return state, (self._finding(state, seen, second, bits),)

    def ahead(self, state: _State, run: Run) -> Iterator[int]:
        """What was never seen is looked at, where it comes first; all else is noted."""
        day, seconds, kinds, limits = run.day, run.seconds, run.kinds, self.thresholds
        unsettled = {
            place for kind, place in run.firsts.items() if kind.is_success and not _is_settled(state, kind, day)
        }
        if self._may_forget(state, [kinds[place] for place in unsettled]):
            yield from run.moments
            return
        looked_at_s = -1
        for place in sorted(unsettled.union(_new_hours(state, run))):
            second, kind = seconds[place], kinds[place]
            if second == looked_at_s:
                continue
            if kind.hour is None:
                state.hours.add(second // _HOUR_S)
            if _is_settled(state, kind, day):
                continue
            if day > state.day:
                state.active, state.day = state.active + 1, day
            counts = state.active > limits.min_days
            named = self._named(state, kind.resource_type, kind.action, kind.address)
            if counts and any(name not in habit.known for _, habit, name, _ in named):
                yield second
                looked_at_s = second
            else:
                for _, habit, name, size in named:
                    habit.add(name, day, size, limits.keep_days, counts=counts)

    def _may_forget(self, state: _State, kinds: Sequence[Kind]) -> bool:
        """Whether what is new in these may not find room beside what is known."""
        limits = self.thresholds
        sizes = {"resource_type": limits.types, "action": limits.actions}
        sizes |= {"network": limits.networks, "address": limits.addresses}
        habits = state.types, state.actions, state.networks, state.addresses
        if all(len(each.known) + len(kinds) <= size for each, size in zip(habits, sizes.values(), strict=True)):
            return False
        new: dict[str, set[str]] = {}
        for kind in kinds:
            for what, habit, name, _ in self._named(state, kind.resource_type, kind.action, kind.address):
                if name not in habit.known:
                    new.setdefault(what, set()).add(name)
        known = dict(zip(sizes, habits, strict=True))
        return any(len(known[what].known) + len(names) > sizes[what] for what, names in new.items())

    def _look(self, state: _State, chain: str, cell: Cell, second: int) -> bool:
        """Whether the cell brought anything new that counts; it is known from now on."""
        limits, day = self.thresholds, second // _DAY_S
        counts = state.active > limits.min_days
        is_new = False
        for kind, habit, name, size in self._named(state, cell.resource_type, cell.action, cell.ip_address):
            if counts and name not in habit.known:
                if not is_new:
                    is_new = True
                    _begin(state, second, limits.window_s)
                if len(state.new) < _MOST_NEW:
                    is_power = kind == "action" and bool(traits(cell.action) & POWER)
                    is_odd = kind == "network" and second // _HOUR_S == state.hours.newest and cell.hour is None
                    odd = state.hours.bits if is_odd else 0.0
                    state.new.append(_New(kind, name, round(habit.bits(), 2), is_power, odd))
            habit.add(name, day, size, limits.keep_days, counts=counts)
        if is_new:
            state.end_s = max(state.end_s, second)
            add_ranges(state.seqs, chain, cell.seqs)
        return is_new

    def _named(
        self, state: _State, resource_type: str, action: str, address: str | None
    ) -> list[tuple[str, Habit, str, int]]:
        """What there is to know: its kind, where it is kept, as what, and beside how many."""
        limits = self.thresholds
        named = [
            ("resource_type", state.types, short(resource_type), limits.types),
            ("action", state.actions, short(action), limits.actions),
        ]
        if address is not None:
            named.append(("network", state.networks, network_of(address), limits.networks))
            named.append(("address", state.addresses, address, limits.addresses))
        return named

    def _bits(self, new: Sequence[_New]) -> float:
        """Of where it came from and of what was done, the most surprising each; several at once are more."""
        total = 0.0
        for wide, narrow in (("network", "address"), ("resource_type", "action")):
            found = [each for each in new if each.kind == wide] or [each for each in new if each.kind == narrow]
            if found:
                total += max(each.bits for each in found) + math.log2(len(found)) / 2
        total += self._hour_bits(new)
        return total + (self.thresholds.power_bits if any(each.is_power for each in new) else 0)

    def _hour_bits(self, new: Sequence[_New]) -> float:
        """What the hour adds to a new network; nothing where it is not that unusual."""
        most = max((each.hour_bits for each in new), default=0.0)
        return most if most >= self.thresholds.hour_bits else 0.0

    def _finding(self, state: _State, seen: Activity, second: int, bits: float) -> Finding:
        limits = self.thresholds
        new = [each for each in state.new if each.kind != "address" or not _has_new_network(state.new)]
        told = ", ".join(f"{each.kind.replace('_', ' ')} {each.name}" for each in new[:4])
        more = f" and {len(new) - 4} more" if len(new) > 4 else ""
        if self._hour_bits(new):
            more += f", at an hour that 1 of {2 ** self._hour_bits(new):.0f} days sees"
        known = f"{len(state.networks.known)} networks, {len(state.types.known)} resource types"
        return Finding(
            severity="medium" if bits >= 1.25 * limits.bits else "low",
            confidence=min(0.95, 1 - 0.5 * limits.bits / bits),
            summary=(
                f"new for {seen.actor_id} in {span(state.end_s - state.since_s + 1)}: {told}{more}; usual are {known} "
                f"over {state.active} days, and so much new together on about 1 of {2**bits:.0f} days"
            ),
            window=(state.since_s, state.end_s),
            key_s=Episode.key_s(second, limits.quiet_s),
            query=window_query(
                sorted(state.seqs), state.since_s, state.end_s, f"actor:{quoted(seen.actor_id)}", *_term(new)
            ),
            score=bits / limits.bits,
            seen={"new": told, "bits": round(bits, 1)},
            usual={
                "days": state.active,
                "networks": len(state.networks.known),
                "types": len(state.types.known),
                "days_with_something_new": round(max(state.networks.novel, state.types.novel), 1),
            },
            seqs=merged_ranges(state.seqs.get(seen.chain, ())),
        )


def _new_hours(state: _State, run: Run) -> Iterator[int]:
    """Where in the run hours begin that were not seen: with something done in time."""
    newest = state.hours.newest
    if not run.seconds or run.seconds[-1] // _HOUR_S <= newest:
        return
    for place, (second, kind) in enumerate(zip(run.seconds, run.kinds, strict=True)):
        if second // _HOUR_S > newest and kind.is_success and kind.hour is None:
            newest = second // _HOUR_S
            yield place


def _is_settled(state: _State, kind: Kind, day: int) -> bool:
    """Whether all that it names was seen on this day already."""
    return (
        state.types.known.get(kind.type_name, 0) >= day
        and state.actions.known.get(kind.action_name, 0) >= day
        and (kind.address is None or state.addresses.known.get(kind.address, 0) >= day)
    )


def _begin(state: _State, second: int, window_s: int) -> None:
    if not state.new or second - state.since_s > window_s:
        state.new, state.seqs = [], {}
        state.since_s = state.end_s = second
    state.since_s = min(state.since_s, second)


def _has_new_network(new: Sequence[_New]) -> bool:
    return any(each.kind == "network" for each in new)


def _term(new: Sequence[_New]) -> list[str]:
    """What narrows the search, where all that is new is of one kind and written out."""
    kinds = {each.kind for each in new}
    if len(kinds) != 1 or any(each.name.startswith("#") for each in new):
        return []
    key = _KEYS[kinds.pop()]
    return [f"{key}:{each.name if key == 'ip' else quoted(each.name)}" for each in new]
