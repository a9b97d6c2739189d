"""Ask a log what a period's report says. Every number comes from a question that the reader can ask again.

The period is one of `sequenced_at`, which no producer can choose and which only grows: once it is over, its report is
the same whenever it is made. `Log` is who answers; the questions are texts of the search language, and what is shown
beside a number is the command with that very text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from sealstream.layout import Retention
from sealstream.reports.figures import Figure, Question, Section, Series, Table
from sealstream.reports.periods import Period
from sealstream.verify import Report

__all__ = ["PRIVILEGED", "READS", "Asker", "Log", "period_sections", "verdict_of"]

RESULTS = ("success", "failure", "denied")

# What counts as privileged where the settings say nothing: a name, and the search that finds it. Applications name an
# action by its verb first (`export_invoices`) or last (`invoice.export`): a search finds the word wherever it stands.
PRIVILEGED: dict[str, str] = {
    "by administrators": "actor_type:admin",
    "on behalf of another": "on_behalf_of:*",
    "logins as another, by the action's name": "action:*impersonat* action:*login_as* action:*login-as* action:*sudo*",
    "rights, roles, accounts, by the action's name": (
        "action:*permission* action:*role* action:*grant* action:*revoke* action:*account* "
        "action:user.* action:*.user.*"
    ),
    "exports, by the action's name": "action:*export*",
    "deletions, by the action's name": "action:*delete* action:*erase* action:*purge*",
    "break glass, by the action's name": (
        "action:*break_glass* action:*break-glass* action:*breakglass* action:*emergency*"
    ),
}

Row = tuple[int | str, ...]

_SHOWN = 20
_LISTED = 50
# What applications did: all events but those in which a producer speaks of itself.
EVENTS = "kind:event -action:producer.closed -action:audit.loss"
_OF_PRODUCERS = "kind:event action:producer.closed action:audit.loss"
_LOSSES = "kind:event action:audit.loss"
# A stream has a beginning and an end: the beginning counts. What was refused to a reader is no read.
READS = "kind:control action:log.read -metadata.phase:end -result:denied"
_REFUSED_READS = "kind:control action:log.read result:denied"
_RETRIED = "kind:control action:deadletter.retried"
_DISMISSED = "kind:control action:deadletter.dismissed"
_PASSED = "kind:log action:input.passed"
_NOTICED = (
    "producer.gap",
    "producer.unsure",
    "producer.conflict",
    "producer.silent",
    "producer.dropped",
    "signature.refused",
    "input.lost",
)


_MEANINGS = {
    "self-signed": "signed with the log's own key and by no outside witness, so whoever holds the key could sign "
    "another history; a checkpoint that you kept tells",
    "WORM-locked": "write once, read many: nobody, administrators included, can change or delete the archive's objects "
    "before their lock ends",
}


class Log(Protocol):
    """Who answers. `text` is a query of the search language; all answers are of one chain."""

    def count_by(self, text: str, field: str) -> Sequence[tuple[str, int]]:
        """How many entries each value of the field has, the most first; the value of those that have none is empty."""
        ...

    def entries(self, text: str) -> Iterator[Mapping[str, Any]]:
        """The entries themselves, in the chain's order, as JSON."""
        ...


class Asker:
    """The period's questions, each asked once."""

    def __init__(self, log: Log, chain: str, period: Period, now: datetime) -> None:
        self.log = log
        self.now = now
        self.chain = chain
        self._counted: dict[tuple[str, str], Sequence[tuple[str, int]]] = {}
        self.within = f"sealed_after:{period.since} sealed_before:{period.until}"

    def text(self, query: str) -> str:
        """The question, within the period."""
        return f"{query} {self.within}".strip()

    def question(self, query: str, *more: str) -> Question:
        """The command that gives all of it again, however much."""
        return Question(("search", self.text(query), *(more or ("--sort", "seq")), "--all", "--chain", self.chain))

    def count(self, label: str, query: str, *, note: str = "", alarming_if_any: bool = False) -> Figure:
        """How many entries it finds."""
        value = sum(count for _, count in self.count_by(query, "kind"))
        return Figure(label, value, self.question(query, "--count-by", "kind"), note, alarming_if_any and value > 0)

    def count_by(self, query: str, field: str) -> Sequence[tuple[str, int]]:
        """Each is asked once: the same numbers stand in several places."""
        if (query, field) not in self._counted:
            self._counted[query, field] = self.log.count_by(self.text(query), field)
        return self._counted[query, field]

    def entries(self, query: str) -> Iterator[Mapping[str, Any]]:
        """What it finds."""
        return self.log.entries(self.text(query))

    def added_up(self, label: str, query: str, value: int | str, note: str, *, alarming: bool = False) -> Figure:
        """What is worked out from the entries themselves: the command prints them whole, `note` says how."""
        question = self.question(query, "--sort", "seq", "--output", "json")
        return Figure(label, value, question, f"its query prints the entries as JSON: {note}", alarming)

    def dropped(self) -> Figure:
        """How many events producers say that they had to drop."""
        value = sum(
            count for entry in self.entries(_LOSSES) if isinstance(count := entry.get("metadata", {}).get("count"), int)
        )
        note = "add up `metadata.count`"
        return self.added_up("events that producers dropped", _LOSSES, value, note, alarming=value > 0)


def period_sections(
    ask: Asker,
    period: Period,
    *,
    began: datetime | None = None,
    privileged: Mapping[str, str] = PRIVILEGED,
    verified: Mapping[str, Report | str],
    retention: Retention,
) -> list[Section]:
    """All sections of the report; `began`: when the chain did (aware; None: unknown).

    `verified`: each store's report, or why there is none.
    """
    return [
        _summary(ask, period),
        _volume(ask, period, began),
        _actors(ask),
        _denials(ask),
        _privileged(ask, privileged),
        _access(ask),
        _verification(ask.chain, verified),
        _gaps(ask),
        _retention(ask, retention),
    ]


def _summary(ask: Asker, period: Period) -> Section:
    actors = ask.count_by(EVENTS, "actor")
    return Section(
        "In short",
        f"What applications reported within the {period.kind}, and what the log says of itself. What producers say of "
        "themselves, `producer.closed` (a stream ended) and `audit.loss` (events were dropped), is not counted "
        "among the applications' events, actors, days and results: it has lines of its own here.",
        [
            ask.count("events", EVENTS),
            Figure("actors", len(actors), ask.question(EVENTS, "--count-by", "actor"), "who did at least one thing"),
            ask.count("denied", f"{EVENTS} result:denied"),
            ask.count("failed", f"{EVENTS} result:failure"),
            ask.dropped(),
            ask.count("producers' statements of themselves", _OF_PRODUCERS, note="`producer.closed`, `audit.loss`"),
            ask.count(
                "gaps noticed",
                "kind:log action:producer.gap",
                alarming_if_any=True,
                note="numbers of a producer that never came",
            ),
            ask.count("reads of this log", READS),
            ask.count("statements of the log", "-kind:event", note="its own life: segments, heartbeats, readers"),
        ],
    )


def _volume(ask: Asker, period: Period, began: datetime | None) -> Section:
    found: dict[str, dict[str, int]] = {}
    for result in RESULTS:
        found[result] = dict(ask.count_by(f"{EVENTS} result:{result}", "sealed_day"))
    values = {result: [found[result].get(day.isoformat(), 0) for day in period.days] for result in RESULTS}
    questions = {
        result: ask.question(f"{EVENTS} result:{result}", "--count-by", "sealed_day", "--sort", "value")
        for result in RESULTS
    }
    totals = {day: sum(values[result][place] for result in RESULTS) for place, day in enumerate(period.days)}
    # Days that have not come, and those before there was a chain, are no days without an event.
    lived = [day for day in period.days if day <= ask.now.date() and (began is None or day >= began.date())]
    rows: list[Row] = [
        (_day(day), *(values[result][place] for result in RESULTS), totals[day])
        for place, day in enumerate(period.days)
        if day in lived
    ]
    quiet = [day for day in lived if not totals[day] and day < ask.now.date()]
    notes = [f"Days that passed without an event: {_runs(quiet)} ({len(quiet)} of {len(lived)})."] if quiet else []
    if began is not None and period.begins < began < period.ends:
        notes.insert(0, f"The chain begins on {_day(began.date())}.")
    total = ask.question(EVENTS, "--count-by", "sealed_day", "--sort", "value")
    return Section(
        "Volume by day",
        "By the day on which the log sealed an event (UTC); a late delivery counts on the day that it came.",
        series=[Series("Events a day, by result", period.days, values, questions)] if len(period.days) > 1 else [],
        tables=[Table("The same in numbers", ("day", *RESULTS, "all"), rows, total)],
        notes=notes,
    )


def _runs(days: Sequence[date]) -> str:
    """Days as people write them: 1-5, 9, 12-13; with their months where they are of two."""
    runs: list[list[date]] = []
    for day in days:
        if runs and runs[-1][1] == day - timedelta(days=1):
            runs[-1][1] = day
        else:
            runs.append([day, day])
    pattern = "%-d" if len({day.month for day in days}) == 1 else "%m-%d"
    said = [[day.strftime(pattern) for day in run] for run in runs]
    between = "-" if pattern == "%-d" else " to "
    return ", ".join(first if first == last else f"{first}{between}{last}" for first, last in said)


def _day(day: date) -> str:
    return day.strftime("%Y-%m-%d %a")


def _top(ask: Asker, title: str, query: str, field: str, heading: str, counted: str = "events") -> Table:
    counts = ask.count_by(query, field)
    rows = [(value, count) for value, count in counts[:_SHOWN]]
    return Table(
        title, (heading, counted), rows, ask.question(query, "--count-by", field), max(0, len(counts) - _SHOWN)
    )


def _actors(ask: Asker) -> Section:
    counts = ask.count_by(EVENTS, "actor")
    top = counts[:_SHOWN]
    by_result = {result: dict(ask.count_by(f"{EVENTS} result:{result}", "actor")) for result in RESULTS[1:]}
    rows: list[Row] = [
        (actor, count, *(by_result[result].get(actor, 0) for result in RESULTS[1:])) for actor, count in top
    ]
    question = ask.question(EVENTS, "--count-by", "actor")
    return Section(
        "Actors",
        "Who did most. An actor's id is what the application says; the log holds its applications to nothing but that.",
        tables=[
            Table("Busiest actors", ("actor", "events", *RESULTS[1:]), rows, question, max(0, len(counts) - _SHOWN)),
            _top(ask, "Kinds of actors", EVENTS, "actor_type", "kind"),
        ],
    )


def _denials(ask: Asker) -> Section:
    refused = f"{EVENTS} result:denied"
    return Section(
        "Denials and failures",
        "What was tried and not allowed, or allowed and not achieved.",
        tables=[
            _top(ask, "Who was denied", refused, "actor", "actor"),
            _top(ask, "What was denied", refused, "action", "action"),
            _top(ask, "On what kind of resource", refused, "resource_type", "resource"),
            _top(ask, "Who failed", f"{EVENTS} result:failure", "actor", "actor"),
        ],
    )


def _privileged(ask: Asker, privileged: Mapping[str, str]) -> Section:
    figures, tables = [], []
    for name, query in privileged.items():
        figure = ask.count(name, f"kind:event {query}", note=f"`{query}`")
        figures.append(figure)
        if not figure.value:
            continue
        rows: list[tuple[str, ...]] = []
        for entry in ask.entries(f"kind:event {query}"):
            rows.append(
                (
                    str(entry["written"]["seq"]),
                    str(entry["timestamp"])[:19].replace("T", " "),
                    _who(entry),
                    str(entry["action"]),
                    f"{entry['resource_type']}/{entry['resource_id']}",
                    str(entry["result"]),
                    str(entry.get("reason") or ""),
                )
            )
            if len(rows) == _LISTED:
                break
        headings = ("seq", "when (as claimed)", "actor", "action", "resource", "result", "reason")
        left_out = int(figure.value) - len(rows)
        tables.append(Table(f"Privileged: {name}", headings, rows, ask.question(f"kind:event {query}"), left_out))
    return Section(
        "Privileged actions",
        "What needs a reason. Below each number stands the search that decides what counts: 0 says that it finds none, "
        "not that nothing of the kind was done under another name; the month's actions are listed below. "
        "`[report.privileged]` in the settings has others. One action may be of several kinds.",
        figures,
        tables=[
            *tables,
            _top(ask, "Actions by name, to see what the searches leave out", EVENTS, "action", "action"),
        ],
    )


def _who(entry: Mapping[str, Any]) -> str:
    behalf = entry.get("on_behalf_of")
    return f"{entry['actor_id']} for {behalf}" if behalf else str(entry["actor_id"])


def _access(ask: Asker) -> Section:
    read = ask.count("reads of this log", READS, note="a stream counts once")
    notes = []
    if not read.value:
        notes.append("No read was recorded. Who reaches a store without Sealstream is not seen here: docs/access.md.")
    return Section(
        "Access to the log",
        "Who searched, showed, exported or verified this log: each time is sealed in the log itself.",
        [read, ask.count("reads that were refused", _REFUSED_READS, note="a token asked beyond its scope")],
        tables=[
            _top(ask, "Who read", READS, "actor", "reader", "times"),
            _top(ask, "How", READS, "metadata.what", "command or route", "times"),
        ],
        notes=notes,
    )


def _verification(chain: str, verified: Mapping[str, Report | str]) -> Section:
    rows: list[tuple[int | str, ...]] = []
    faults: list[tuple[int | str, ...]] = []
    notes = []
    for store, found in verified.items():
        if isinstance(found, str):
            rows.append((store, "could not verify", "", "", "", ""))
            notes.append(f"{store}: {found}")
            continue
        assurance = ", ".join(found.assurance)
        rows.append((store, found.verdict, found.entries, found.size, found.root.hex()[:16], assurance))
        faults += [(store, str(fault.kind), fault.seqs(), fault.place, fault.detail) for fault in found.faults]
        notes += [f"{store}: {note}" for note in found.notes]
    notes += [f"{word}: {meaning}." for word, meaning in _MEANINGS.items() if word in _assurances(verified)]
    read = {store: found.entries for store, found in verified.items() if isinstance(found, Report)}
    if "archive" in read and read["archive"] < max(read.values()):
        notes.append(
            f"The archive holds {read['archive']:,} entries where another store holds {max(read.values()):,}: entries "
            "are archived when their segment closes, and those of the open segment are not there yet."
        )
    headings = ("store", "verdict", "entries read", "signed size", "root", "assurance")
    tables = [Table("Verdict by store", headings, rows, _verify(chain, "all"), empty="not verified for this report")]
    if faults:
        columns = ("store", "kind", "seqs", "place", "what was found")
        more = max(0, len(faults) - _LISTED)
        tables.append(Table("Faults", columns, faults[:_LISTED], _verify(chain, "all"), more))
    return Section(
        "Verification",
        "Whether every hash, link, root and signature holds, recomputed from the first entry on while this was made.",
        tables=tables,
        notes=notes,
    )


def _verify(chain: str, store: str) -> Question:
    return Question(("verify", store, "--chain", chain))


def _gaps(ask: Asker) -> Section:
    query = "kind:log " + " ".join(f"action:{action}" for action in _NOTICED)
    rows: list[tuple[str, ...]] = []
    total = 0
    for entry in ask.entries(query):
        total += 1
        if len(rows) < _LISTED:
            facts = json.dumps(entry.get("metadata", {}), ensure_ascii=False, sort_keys=True)
            rows.append(
                (
                    str(entry["written"]["seq"]),
                    str(entry["timestamp"])[:19].replace("T", " "),
                    str(entry["action"]),
                    facts[:300],
                )
            )
    refused = sum(
        int(item["last"]) - int(item["first"]) + 1
        for entry in ask.entries(_PASSED)
        for item in entry.get("metadata", {}).get("items", [])
        if item.get("what") == "refused"
    )
    dismissed = sum(len(entry.get("metadata", {}).get("letters", [])) for entry in ask.entries(_DISMISSED))
    return Section(
        "Gaps",
        "What is missing, and what was refused. A number that a producer gave and that never came is a gap.",
        [
            ask.added_up(
                "records refused",
                _PASSED,
                refused,
                "of each item of `metadata.items` whose `what` is `refused`, count the records from `first` to `last`, "
                "both included; `sealstream deadletter list` has their bytes",
                alarming=refused > 0,
            ),
            ask.count("records sent again, corrected", _RETRIED, note="each by whoever says that it is a correction"),
            ask.added_up(
                "records dismissed",
                _DISMISSED,
                dismissed,
                "count the items of `metadata.letters`; each entry says who decided it and why",
            ),
            ask.dropped(),
        ],
        tables=[
            Table(
                "What the log noticed",
                ("seq", "when", "what", "facts"),
                rows,
                ask.question(query),
                total - len(rows),
                "nothing",
            )
        ],
    )


def _retention(ask: Asker, retention: Retention) -> Section:
    query = "kind:control action:segment.archived"
    until: list[str] = []
    for entry in ask.entries(query):
        moment = str(entry.get("metadata", {}).get("retain_until", ""))
        until = [min(until[0], moment), max(until[1], moment)] if until else [moment, moment]
    online = "for ever" if retention.online_days is None else _days(retention.online_days)
    chain = Question(("chain", "retention", ask.chain))
    figures = [
        Figure("policy", retention.policy, chain),
        Figure("in Postgres and Kafka", online, chain),
        Figure("in the archive, locked", _days(retention.archive_days), chain),
        ask.count("segments archived", query, note="each one Parquet object under COMPLIANCE lock"),
    ]
    if until:
        least, greatest = "the least `metadata.retain_until`", "the greatest `metadata.retain_until`"
        figures.append(ask.added_up("the earliest lock ends", query, until[0][:10], least))
        figures.append(ask.added_up("the latest lock ends", query, until[1][:10], greatest))
    return Section(
        "Retention and locks",
        "How long entries are kept, and until when nobody, its administrator included, can delete their objects.",
        figures,
        notes=["Lock dates are those that the chain sealed; verifying the archive compares them with the bucket's."],
    )


def verdict_of(verified: Mapping[str, Report | str]) -> tuple[str, bool | None]:
    """The verdict in a sentence, and whether all holds: None when something could not be verified."""
    if not verified:
        return "Nothing was verified for this report: its numbers are what the store says.", None
    broken = [store for store, found in verified.items() if isinstance(found, Report) and found.exit_code == 1]
    if broken:
        return (
            f"TAMPERING FOUND in {_listed(broken)}: see Verification before you use any number of this report.",
            False,
        )
    unsure = [store for store, found in verified.items() if isinstance(found, str) or found.exit_code]
    if unsure:
        return f"Could not verify {_listed(unsure)}: see Verification.", None
    assurance = [f"{word} ({_MEANINGS[word]})" if word in _MEANINGS else word for word in _assurances(verified)]
    return (
        f"Verified: every hash, link, root and signature in {_listed(list(verified))} holds. "
        f"Assurance: {'; '.join(assurance) or 'none'}.",
        True,
    )


def _assurances(verified: Mapping[str, Report | str]) -> list[str]:
    return sorted({word for found in verified.values() if isinstance(found, Report) for word in found.assurance})


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"
