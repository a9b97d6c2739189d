"""What entries say: who did what to which resource, when, from where, with what result, and no secret beside it.

By a sample of the chain, since all of it may be years. What is found is named by its seq; no value is shown.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sealstream.client.redaction import Redaction
from sealstream.doctor.asking import Asking, Sampled
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.errors import SealstreamError
from sealstream.events import parse_timestamp

__all__ = ["CHECKS", "judged_complete", "judged_order", "judged_secrets"]

_REQUIRED = ("id", "timestamp", "actor_id", "actor_type", "action", "resource_type", "resource_id", "result")
_AHEAD = timedelta(seconds=60)
_SEARCHED = ("metadata", "old_values", "new_values", "reason", "actor_id", "resource_id", "user_agent", "session_id")
_NO_EVENTS = "send an event, and ask again"


def _each_chain(judge: Callable[[Sampled], Outcome]) -> Callable[[Asking], Outcome]:
    def ask(asking: Asking) -> Outcome:
        return folded((f"chain {chain.name}", judge(asking.sample(chain))) for chain in asking.system.chains)

    return ask


def judged_complete(sampled: Sampled) -> Outcome:
    """Whether each event has the fields of an audit entry, and says from where it came."""
    events = sampled.events()
    if not events:
        return unknown(f"no application's event among {sampled.says}", to_do=_NO_EVENTS)
    lacking = [_seq(each) for each in events if not all(each.get(field) for field in _REQUIRED)]
    nowhere = [_seq(each) for each in events if not (each.get("ip_address") or each.get("source"))]
    addressed = sum("ip_address" in each for each in events)
    said = f"{len(events):,} events among {sampled.says}"
    if lacking:
        return failed(f"{said}: {_listed(lacking)} lack a required field", to_do="docs/runbooks/README.md")
    if nowhere:
        return failed(
            f"{said}: {_listed(nowhere)} say neither from which address they came nor from which component",
            to_do="give `ip_address` where there is a request, and `source` elsewhere (docs/client.md)",
        )
    return passed(
        f"{said}: each has actor, action, resource, time and result; {addressed:,} the address that they came from, "
        "the others the component"
    )


def judged_order(sampled: Sampled) -> Outcome:
    """Whether the log's times never go back, and no producer's clock is ahead of the broker's."""
    if not sampled.entries:
        return unknown(f"no entry among {sampled.says}", to_do=_NO_EVENTS)
    back = [
        _seq(after)
        for before, after in pairwise(sampled.entries)
        if after["written"]["sequenced_at"] < before["written"]["sequenced_at"]
    ]
    ahead = [_seq(each) for each in sampled.events() if _is_ahead(each)]
    if back:
        return failed(f"{_listed(back)} were sealed before the entry before them", to_do="docs/runbooks/README.md")
    if ahead:
        return failed(
            f"{_listed(ahead)} claim a time more than {_AHEAD.seconds} s after Kafka had them: their producers' clocks "
            "are ahead",
            to_do="set the clocks of the hosts that `source.host` names by NTP",
        )
    return passed(f"{sampled.says}: `sequenced_at` never goes back, and no event claims a time after it came")


def _is_ahead(event: Mapping[str, Any]) -> bool:
    written = event["written"]
    try:
        came = parse_timestamp(written.get("received_at") or written["sequenced_at"])
        return parse_timestamp(event["timestamp"]) - came > _AHEAD
    except SealstreamError:
        return True


def judged_secrets(sampled: Sampled) -> Outcome:
    """Whether what the client would have redacted stands in an event: card numbers, tokens, passwords."""
    events = sampled.events()
    if not events:
        return unknown(f"no application's event among {sampled.says}", to_do=_NO_EVENTS)
    redaction = Redaction()
    found = {_seq(each): where for each in events if (where := _secrets(redaction, each))}
    said = f"{len(events):,} events among {sampled.says}"
    if found:
        fields = ", ".join(sorted({field for where in found.values() for field in where}))
        return failed(
            f"{said}: {_listed(list(found))} hold what looks like a card number, a token or a password, in {fields}",
            to_do="have the application leave it out, or redact it (docs/client.md#what-never-leaves-the-process); "
            "what is sealed stays, so treat what was in it as known: revoke it",
        )
    return passed(f"{said}: nothing that the client's own redaction would have taken out")


def _secrets(redaction: Redaction, event: Mapping[str, Any]) -> list[str]:
    """The fields of an event in which the redaction finds something."""
    plain = {name: copy.deepcopy(event[name]) for name in _SEARCHED if name in event}
    redacted = dict(plain)
    redaction.redact(redacted)
    return [
        name
        for name, value in plain.items()
        if redacted[name] != value or (isinstance(value, str) and redaction.text(value) != value)
    ]


def _seq(entry: Mapping[str, Any]) -> int:
    return int(entry["written"]["seq"])


def _listed(seqs: Sequence[int]) -> str:
    shown = ", ".join(f"{seq:,}" for seq in seqs[:5])
    more = f" and {len(seqs) - 5:,} more" if len(seqs) > 5 else ""
    return f"{'entry' if len(seqs) == 1 else 'entries'} {shown}{more}"


CHECKS = (
    Check(
        "entries.complete",
        "each event says who did what to which resource, when, from where, with what result",
        "a sample of entries is read, and each field looked for",
        _each_chain(judged_complete),
    ),
    Check(
        "entries.ordered",
        "the log's times never go back, and no event claims a time after it came",
        "the times of a sample of entries are compared",
        _each_chain(judged_order),
    ),
    Check(
        "entries.redacted",
        "no card number, token or password stands in an event",
        "the client's redaction is tried on a sample of entries",
        _each_chain(judged_secrets),
    ),
)
