"""What is wrong, in words: from what processes and stores say, to findings with the page that helps. Pure.

**wrong**: somebody must act; **unknown**: a part could not be asked, so nothing is known of it; **note**: worth a look.
The invariant: a part that does not answer never hides what another one says. The limits are those by which verification
calls a store stale, with room for a chain that is idle: its heartbeat comes once a minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from sealstream.health.asking import Archived, Producers, RolledUp, Sealed, Signed, Stored, Trouble
from sealstream.health.letters import DeadLetters
from sealstream.health.views import ChainView, Finding, ProcessView
from sealstream.kafka.settings import TopicMissing
from sealstream.layout import figures

__all__ = ["ChainView", "Finding", "ProcessView", "exit_code", "findings", "of_letters", "said_age"]

OPERATING = "docs/operating.md"
FORWARDING = "docs/forwarding.md"
POSTGRES_SAYS = f"{OPERATING}#what-postgres-says"
RUNBOOKS = "docs/runbooks/README.md"
LAGGING = "docs/runbooks/lagging-sink.md"
LOST_KAFKA = "docs/runbooks/lost-kafka.md"
LOST_POSTGRES = "docs/runbooks/lost-postgres.md"
DEAD_LETTERS = "docs/runbooks/dead-letters.md"
MISSING_NUMBERS = "docs/runbooks/missing-numbers.md"
REVIEWS = "docs/reviews.md"

_STARTS_WITHIN_S = 60.0
_UNSEALED_S = 60.0
_NO_HEARTBEAT_S = 180.0
_UNSIGNED_S = 120.0
_UNSTORED_S = 180.0
_UNTOLD_S = 180.0
_UNARCHIVED_S = 600.0
_ARCHIVE_OLD_S = 25 * 3600.0
_JUST_ENDED_S = 60.0
_SEGMENTS_BEHIND = 5
_CLOCK_AHEAD_S = 60.0
_NO_CONNECTION = re.compile(
    r"connecting to|no answer from|does not answer|nobody answers|connection refused|unreachable|transport failure"
    r"|timed out|password|authenti|authoriz|permission|credential|access ?key|access ?denied|forbidden|\bsasl|\bssl"
    r"|SignatureDoesNotMatch|certificate",
    re.IGNORECASE,
)
_REFUSED_BY_POSTGRES = re.compile(r"Postgres.*\[(?:28|3D|53|57)[0-9A-Z]{3}\]", re.DOTALL)


def exit_code(found: Sequence[Finding]) -> int:
    """0: well; 1: something is wrong; 2: nothing is known to be, but not everything could be asked."""
    severities = {finding.severity for finding in found}
    return 1 if "wrong" in severities else 2 if "unknown" in severities else 0


def findings(processes: Sequence[ProcessView], chains: Sequence[ChainView], now: float) -> list[Finding]:
    """Everything that is to be said, the worst first; the same of several chains once."""
    found = [finding for process in processes for finding in _of_process(process)]
    found += [finding for chain in chains for finding in _of_chain(chain, now)]
    order = ("wrong", "unknown", "note")
    return sorted(dict.fromkeys(found), key=lambda finding: order.index(finding.severity))


def of_letters(refused: Mapping[str, int] | Trouble) -> list[Finding]:
    """What targets of the forward sink refused."""
    if isinstance(refused, Trouble):
        return [_trouble("Kafka", refused, LOST_KAFKA)]
    return [
        Finding(
            "wrong",
            "forward",
            f"target {target} refused {_count(number, 'message')}: `sealstream forward list` says why",
            FORWARDING,
        )
        for target, number in sorted(refused.items())
    ]


def _of_process(process: ProcessView) -> Iterator[Finding]:
    name, because = process.name, "; ".join(process.because)
    page = _page(process.last_error)
    if process.state == "stopped: alarm":
        why = f": {because}" if because else f": `sealstream logs {name}` says why"
        yield Finding("wrong", name, f"{name} has stopped with an alarm{why}", process.runbook or RUNBOOKS)
    elif process.state == "restarting":
        yield Finding("wrong", name, f"{name} {_ended(process)} and is started again{_why(process)}", page)
    elif _ended_again(process):
        when = f"was started again {said_age(process.running_s or 0)} ago"
        yield Finding("wrong", name, f"{name} {_ended(process)} and {when}{_why(process)}", page)
    elif process.state == "starting":
        yield Finding("unknown", name, f"{name} is starting")
    elif process.state == "stopped":
        yield Finding("wrong", name, f"{name} does not run", OPERATING)
    elif process.trouble:
        yield Finding("wrong", name, f"{name} does not answer at {process.url}: {process.trouble}", OPERATING)
    elif process.alive is False:
        yield Finding("wrong", name, f"{name} stands: {because}", OPERATING)
    elif process.ready is False and not process.runbook and (process.running_s or _STARTS_WITHIN_S) < _STARTS_WITHIN_S:
        yield Finding("unknown", name, f"{name} was started {said_age(process.running_s or 0)} ago: {because}")
    elif process.ready is False:
        yield Finding(
            "wrong", name, f"{name} is not ready: {because}{_advice(because)}", process.runbook or _page(because)
        )
    skew = process.figure(figures.CLOCK_SKEW, bound="least")
    if skew is not None and skew < -_CLOCK_AHEAD_S:
        yield Finding("note", name, f"a producer's clock is {said_age(-skew)} ahead of the broker's", OPERATING)


def _ended_again(process: ProcessView) -> bool:
    """It ended, and what runs now has not yet shown that it will last; one end alone is for `restarting` to tell."""
    if process.exit_code is None or process.state not in ("starting", "running"):
        return False
    return process.state == "starting" or (process.restarts > 1 and (process.running_s or 0) < _STARTS_WITHIN_S)


def _ended(process: ProcessView) -> str:
    times = f" (restarted {process.restarts:,} times so far)" if process.restarts > 1 else ""
    return f"ended with exit code {process.exit_code}{times}"


def _why(process: ProcessView) -> str:
    if not process.last_error:
        return f": `sealstream logs {process.name}` may say why"
    return f": {process.last_error}{_advice(process.last_error)}"


def _page(reason: str, page: str = OPERATING) -> str:
    """`page`, unless Postgres has refused with a code of its own: these have a table."""
    return POSTGRES_SAYS if _REFUSED_BY_POSTGRES.search(reason) else page


def _advice(reason: str) -> str:
    return "; `sealstream config check` tries each server and login" if _NO_CONNECTION.search(reason) else ""


def _of_chain(view: ChainView, now: float) -> Iterator[Finding]:
    if _is_nowhere(view):
        words = f"chain {view.chain} was closed, its topics are gone, and no other store holds an entry of it"
        yield Finding("wrong", "Kafka", words, LOST_KAFKA)
    elif isinstance(view.sealed, Trouble):
        yield _of_kafka(view, view.sealed)
    else:
        yield from _of_sealing(view, view.sealed, now)
        for part in (view.signed, view.letters, view.producers):
            if isinstance(part, Trouble):
                yield _of_kafka(view, part)
    if isinstance(view.signed, Signed) and isinstance(view.sealed, Sealed):
        yield from _of_signing(view, view.sealed, view.signed, now)
    if isinstance(view.stored, Trouble):
        yield _trouble("Postgres", view.stored, _page(view.stored.reason, LOST_POSTGRES))
    elif view.stored is not None and isinstance(view.sealed, Sealed):
        yield from _of_postgres(view, view.sealed, view.stored, now)
    if isinstance(view.archived, Trouble):
        yield _trouble("the archive", view.archived, RUNBOOKS)
    elif view.archived is not None and isinstance(view.signed, Signed):
        yield from _of_archive(view, view.signed, view.archived, now)
    if isinstance(view.rolled_up, Trouble):
        yield _of_kafka(view, view.rolled_up)
    elif view.rolled_up is not None and isinstance(view.sealed, Sealed) and not view.closed:
        yield from _of_activity(view, view.sealed, view.rolled_up, now)
    yield from _of_input(view)
    yield from _of_reviews(view, now)


def _is_nowhere(view: ChainView) -> bool:
    """Whether a closed chain has lost its topics, and each store there is has answered that it holds nothing."""
    if not view.closed or not isinstance(view.sealed, Trouble) or view.sealed.runbook != TopicMissing.runbook:
        return False
    return all(
        part is None or (not isinstance(part, Trouble) and not part.size) for part in (view.stored, view.archived)
    )


def _of_kafka(view: ChainView, trouble: Trouble) -> Finding:
    """A closed chain whose topics were lost goes on under another name: nobody makes them again."""
    found = _trouble("Kafka", trouble, LOST_KAFKA)
    return found._replace(severity="note") if view.closed and trouble.runbook == TopicMissing.runbook else found


def _trouble(store: str, trouble: Trouble, page: str) -> Finding:
    if trouble.is_wrong:
        return Finding("wrong", store, f"{store}: {trouble.reason}", trouble.runbook or page)
    return Finding("unknown", store, f"{store} does not answer: {trouble.reason}", trouble.runbook or page)


def _of_sealing(view: ChainView, sealed: Sealed, now: float) -> Iterator[Finding]:
    if view.closed:
        return
    if sealed.waiting_since is not None and now - sealed.waiting_since > _UNSEALED_S:
        yield Finding(
            "wrong",
            "sequencer",
            f"chain {view.chain}: {_count(sealed.waiting, 'event')} not sealed, the oldest for "
            f"{said_age(now - sealed.waiting_since)}: does the sequencer run?",
            OPERATING,
        )
    elif sealed.sequenced_at is not None and now - sealed.sequenced_at > _NO_HEARTBEAT_S:
        yield Finding(
            "wrong",
            "sequencer",
            f"chain {view.chain}: nothing was sealed for {said_age(now - sealed.sequenced_at)}, not even the heartbeat "
            "of each minute: does the sequencer run?",
            OPERATING,
        )
    elif not sealed.size:
        yield Finding("unknown", "sequencer", f"chain {view.chain}: nothing was ever sealed", OPERATING)


def _of_signing(view: ChainView, sealed: Sealed, signed: Signed, now: float) -> Iterator[Finding]:
    if view.closed:
        return
    if signed.size > sealed.size:
        yield _rolled_back(view.chain, "a checkpoint is signed over", signed.size, sealed.size)
    elif signed.at is None and sealed.size:
        yield from _of_unsigned(view, sealed, now)
    elif signed.size < sealed.size and signed.at is not None and now - signed.at > _UNSIGNED_S:
        yield Finding(
            "wrong",
            "checkpointing",
            f"chain {view.chain}: {_count(sealed.size - signed.size, 'entry')} not signed, the last checkpoint is "
            f"{said_age(now - signed.at)} old: does checkpointing run?",
            OPERATING,
        )


def _of_unsigned(view: ChainView, sealed: Sealed, now: float) -> Iterator[Finding]:
    """A chain of which nothing is signed: no fault while it is young. Its last entry is no older than its first."""
    oldest = view.began_at if view.began_at is not None else sealed.sequenced_at
    if oldest is not None and now - oldest > _UNSIGNED_S:
        least = "" if view.began_at is not None else "at least "
        yield Finding(
            "wrong",
            "checkpointing",
            f"chain {view.chain}: {_count(sealed.size, 'entry')}, none is signed, the oldest came {least}"
            f"{said_age(now - oldest)} ago: does checkpointing run?",
            OPERATING,
        )
    elif view.began_at is None:
        yield Finding(
            "unknown",
            "checkpointing",
            f"chain {view.chain}: nothing is signed, and when its first entry came could not be asked",
            OPERATING,
        )


def _of_postgres(view: ChainView, sealed: Sealed, stored: Stored, now: float) -> Iterator[Finding]:
    if view.closed:
        return
    if stored.size > sealed.size:
        yield _rolled_back(view.chain, "Postgres holds", stored.size, sealed.size)
    elif view.behind_since is not None and now - view.behind_since > _UNSTORED_S:
        yield Finding(
            "wrong",
            "postgres-sink",
            f"chain {view.chain}: Postgres is {_count(sealed.size - stored.size, 'entry')} behind, the oldest for "
            f"{said_age(now - view.behind_since)}",
            LAGGING,
        )


def _of_activity(view: ChainView, sealed: Sealed, rolled_up: RolledUp, now: float) -> Iterator[Finding]:
    behind = sealed.size - rolled_up.size
    if behind > 0 and view.untold_since is not None and now - view.untold_since > _UNTOLD_S:
        yield Finding(
            "wrong",
            "activity",
            f"chain {view.chain}: {_count(behind, 'entry')} not rolled up, the oldest for "
            f"{said_age(now - view.untold_since)}: no alert can come of them; does `run activity` run?",
            OPERATING,
        )


def _of_archive(view: ChainView, signed: Signed, archived: Archived, now: float) -> Iterator[Finding]:
    if view.closed:
        return
    if isinstance(view.sealed, Sealed) and archived.size > view.sealed.size:
        yield _rolled_back(view.chain, "the archive holds", archived.size, view.sealed.size)
        return
    behind = signed.segment_size - archived.size
    if archived.size == 0:
        yield from _of_empty_archive(view, signed, now)
    elif behind > 0 and signed.segment_at is not None:
        newest_s = now - signed.segment_at
        age_s = now - (signed.segment_at if archived.sequenced_at is None else archived.sequenced_at)
        long_s = 3 * view.segment_seconds + _UNARCHIVED_S
        long_since = newest_s > _UNARCHIVED_S or (age_s > long_s and newest_s > _JUST_ENDED_S)
        if long_since or behind >= _SEGMENTS_BEHIND * view.segment_entries:
            yield Finding(
                "wrong",
                "archive-sink",
                f"chain {view.chain}: {_count(behind, 'entry')} of ended segments not archived; the archive's newest "
                f"entry is {said_age(age_s)} old",
                LAGGING,
            )
    elif archived.sequenced_at is not None and now - archived.sequenced_at > _ARCHIVE_OLD_S:
        yield Finding(
            "wrong",
            "archive-sink",
            f"chain {view.chain}: the archive's newest entry is {said_age(now - archived.sequenced_at)} old: even an "
            "idle chain ends a segment each day",
            LAGGING,
        )


def _of_empty_archive(view: ChainView, signed: Signed, now: float) -> Iterator[Finding]:
    """No fault until a segment has ended, which one does within a day, and the sink has had its time."""
    first = view.unarchived_since if view.unarchived_since is not None else signed.segment_at
    if first is not None:
        if now - first > _UNARCHIVED_S or signed.segment_size >= _SEGMENTS_BEHIND * view.segment_entries:
            yield Finding(
                "wrong",
                "archive-sink",
                f"chain {view.chain}: {_count(signed.segment_size, 'entry')} of ended segments not archived; the "
                f"archive holds nothing, the first segment ended {said_age(now - first)} ago",
                LAGGING,
            )
    elif signed.size and view.began_at is not None and now - view.began_at > _ARCHIVE_OLD_S:
        yield Finding(
            "wrong",
            "checkpointing",
            f"chain {view.chain}: no segment has ended since its first entry came {said_age(now - view.began_at)} ago, "
            "so nothing is archived: even an idle chain ends a segment each day",
            OPERATING,
        )


def _of_input(view: ChainView) -> Iterator[Finding]:
    if isinstance(view.letters, DeadLetters) and view.letters.waiting:
        yield Finding(
            "note" if view.closed else "wrong",  # a closed chain takes no retry and no dismissal
            "dead letters",
            f"chain {view.chain}: {_count(view.letters.waiting, 'record')} refused or too late in the last day"
            f"{_worked_off(view.letters)}: "
            f"`sealstream deadletter list --chain {view.chain}` says why",
            DEAD_LETTERS,
        )
    if isinstance(view.producers, Producers):
        if view.producers.with_gaps:
            yield Finding(
                "note",
                "producers",
                f"chain {view.chain}: {view.producers.missing:,} numbers of "
                f"{_count(view.producers.with_gaps, 'producer')} never came: lost before Kafka, or still in a spool; "
                f"`sealstream producers --gaps --chain {view.chain}` says whose",
                MISSING_NUMBERS,
            )
        if view.producers.silent and not view.closed:
            yield Finding(
                "note",
                "producers",
                f"chain {view.chain}: {_count(view.producers.silent, 'producer')} silent for a day, not closed: "
                f"`sealstream producers --chain {view.chain}` says which",
                MISSING_NUMBERS,
            )


def _worked_off(letters: DeadLetters) -> str:
    done = [f"{letters.retried:,} more were sent again since"] if letters.retried else []
    if letters.dismissed:
        done.append(f"{letters.dismissed:,} {'' if done else 'more were '}dismissed")
    return f" ({', '.join(done)})" if done else ""


def _of_reviews(view: ChainView, now: float) -> Iterator[Finding]:
    if not view.late_reviews:
        return
    *others, newest = view.late_reviews
    older = f", and {_count(len(others), 'older one')}, too" if others else ""
    yield Finding(
        "wrong",
        "reviews",
        f"chain {view.chain}: the review of {newest.period} is overdue for {said_age(now - newest.due_at)}{older}: "
        f"`sealstream review list --chain {view.chain}` says which",
        REVIEWS,
    )


def _rolled_back(chain: str, who: str, theirs: int, ours: int) -> Finding:
    words = f"chain {chain}: {who} {theirs:,} entries, but Kafka holds {ours:,}: it was rolled back"
    return Finding("wrong", "Kafka", words, LOST_KAFKA)


def _count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def said_age(seconds: float) -> str:
    """A time as people say it."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h" if whole < 172_800 else f"{whole // 86_400} days"
