"""What must be in the log, looked for in it: its own reading and life, failures, administrators, nothing left out."""

from __future__ import annotations

from datetime import timedelta

from sealstream.doctor.asking import Asking
from sealstream.doctor.checks.retained import judged_months, kept_months
from sealstream.doctor.outcomes import Check, Outcome, State, failed, folded, passed, unknown
from sealstream.doctor.promised import LET_GO, let_go
from sealstream.errors import Unavailable
from sealstream.health.asking import producers
from sealstream.health.letters import dead_letters
from sealstream.layout import ChainSettings
from sealstream.layout.tables import AUDIT_LOG, SCHEMA

__all__ = ["CHECKS", "has_let_go"]

_DAYS = 90
_LOG = f"{SCHEMA}.{AUDIT_LOG}"
_NEWEST_WHERE = (
    f"SELECT seq, sequenced_at FROM {_LOG} WHERE chain = $1 AND kind = 'event' AND sequenced_at >= $2 AND {{what}} "
    'ORDER BY "timestamp" DESC LIMIT 1'
)
_FAILURES = "result IN ('failure', 'denied') AND actor_id <> 'sealstream/client'"
_LOGINS = (
    "result IN ('failure', 'denied') AND (action ILIKE '%login%' OR action ILIKE '%sign_in%' "
    "OR action ILIKE '%signin%' OR action ILIKE '%authenticat%')"
)
_ADMINISTRATORS = "actor_type = 'admin'"
_LIFE = (
    f"SELECT action, count(*) AS count, max(seq) AS newest FROM {_LOG} "
    "WHERE chain = $1 AND kind = 'log' AND action IN ('sequencer.started', 'sequencer.stopped') GROUP BY action"
)


def _access(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        try:
            own = asking.own_read(chain)
        except Unavailable as error:
            to_do = "start the sequencer; when Kafka takes records again, ask again (docs/access.md)"
            found.append((f"chain {chain.name}", failed(str(error), to_do=to_do)))
            continue
        took = (own.sequenced_at - own.said_at).total_seconds()
        said = f"the doctor's reading was sealed as entry {own.seq:,}, {max(took, 0):.1f} s after it was said"
        found.append((f"chain {chain.name}", passed(said)))
    return folded(found)


def _failures(asking: Asking) -> Outcome:
    return folded(
        (f"chain {chain.name}", _seen(asking, chain, _FAILURES, "failed or denied attempt"))
        for chain in asking.system.chains
    )


def _logins(asking: Asking) -> Outcome:
    return folded(
        (f"chain {chain.name}", _seen(asking, chain, _LOGINS, "failed login")) for chain in asking.system.chains
    )


def _administrators(asking: Asking) -> Outcome:
    return folded(
        (f"chain {chain.name}", _seen(asking, chain, _ADMINISTRATORS, "action of an administrator"))
        for chain in asking.system.chains
    )


def _seen(asking: Asking, chain: ChainSettings, condition: str, what: str) -> Outcome:
    since = asking.system.clock() - timedelta(days=_DAYS)
    rows = asking.fetch("reader", _NEWEST_WHERE.format(what=condition), chain.name, since)
    if not rows:
        return failed(
            f"no {what} was sealed in {_DAYS} days: nothing shows that such is reported",
            to_do="make one on purpose and look for it (`sealstream search`); if it does not come, the application "
            "does not report it (docs/client.md, docs/frameworks/README.md)",
        )
    return passed(f"the newest {what} is entry {rows[0]['seq']:,}, of {rows[0]['sequenced_at']:%Y-%m-%d %H:%M}Z")


def has_let_go(asking: Asking, chain: ChainSettings) -> bool:
    """Whether Postgres begins with a later entry than the chain, and the chain says that it let the others go."""
    if asking.stored(chain).first_seq == 0:
        return False
    said = let_go(asking, chain, asking.statements(chain, LET_GO))
    return judged_months(kept_months(asking, chain), said).state is State.PASS


def _life(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        rows = {row["action"]: row for row in asking.fetch("reader", _LIFE, chain.name)}
        if "sequencer.started" not in rows and has_let_go(asking, chain):
            first = asking.stored(chain).first_seq
            said = f"the log's start is not online: Postgres begins with entry {first:,}, what was before has left"
            to_do = f"`sealstream search action:sequencer.started --chain {chain.name} --source archive`"
            found.append((f"chain {chain.name}", unknown(said, to_do=to_do)))
            continue
        if "sequencer.started" not in rows:
            to_do = "`sealstream verify postgres`: entry 1 of each chain says it, entry 2 of one that continues another"
            found.append((f"chain {chain.name}", failed("no start of the log is sealed", to_do=to_do)))
            continue
        said = ", ".join(
            f"{row['count']:,} {action}, the newest entry {row['newest']:,}" for action, row in rows.items()
        )
        found.append((f"chain {chain.name}", passed(said)))
    return folded(found)


def _letters(asking: Asking) -> Outcome:
    found = []
    now, dsn = asking.system.clock().timestamp(), asking.system.dsns.get("reader", "")
    for chain in asking.system.chains:
        letters = dead_letters(asking.system.kafka, chain, now, dsn)
        said = f"{letters.last_day:,} records were refused in the last day, {letters.waiting:,} wait for somebody"
        to_do = f"`sealstream deadletter list --chain {chain.name}` says why: docs/runbooks/dead-letters.md"
        found.append((f"chain {chain.name}", failed(said, to_do=to_do) if letters.waiting else passed(said)))
    return folded(found)


def _gaps(asking: Asking) -> Outcome:
    found = []
    for chain in asking.system.chains:
        known = producers(asking.system.kafka, chain)
        said = f"{known.known:,} producers number their events; {known.missing:,} numbers are missing"
        if known.missing:
            to_do = f"`sealstream producers --chain {chain.name}`: docs/runbooks/missing-numbers.md"
            found.append((f"chain {chain.name}", failed(f"{said}, of {known.with_gaps:,} producers", to_do=to_do)))
        else:
            found.append((f"chain {chain.name}", passed(said)))
    return folded(found)


CHECKS = (
    Check(
        "access.recorded",
        "reading the log is an entry of the log",
        "the doctor's own reading is recorded, and waited for until it is sealed",
        _access,
    ),
    Check(
        "recorded.failures",
        "failed and denied attempts are recorded",
        f"the newest of the last {_DAYS} days is looked for",
        _failures,
    ),
    Check(
        "recorded.logins",
        "failed logins are recorded",
        f"the newest of the last {_DAYS} days is looked for, by the action's name",
        _logins,
    ),
    Check(
        "recorded.administrators",
        "what administrators do is recorded",
        f"the newest of the last {_DAYS} days is looked for, by the type of its actor",
        _administrators,
    ),
    Check(
        "recorded.life",
        "starts and stops of the log are recorded",
        "the log's own statements are looked for",
        _life,
    ),
    Check(
        "input.accounted",
        "no record that was refused waits for somebody",
        "the dead letters of the last day, without those that were worked off",
        _letters,
    ),
    Check(
        "input.whole",
        "no event of a producer that numbers them is missing",
        "the states of producers in Kafka",
        _gaps,
    ),
)
