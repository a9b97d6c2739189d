"""An alert as what is written of it: the record in `audit.alerts`, and the statement that the chain seals. Pure.

Every byte follows from the alert, so found again it is the same record and the same statement, with the alert's id; the
sequencer passes over the repeat.
"""

from __future__ import annotations

import msgspec

from sealstream.events import control_statement
from sealstream.kafka import Outgoing
from sealstream.layout import DEFAULT_PREFIX, ChainTopics
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import Alert, encode_alert

__all__ = ["RAISED_ACTION", "alert_record", "alert_statement", "statement_record"]

RAISED_ACTION = "alert.raised"
_ACTOR = "sealstream/anomaly"
_IN_THE_EVENT = frozenset({"id", "subject", "chain", "tenant", "v"})


def alert_record(alert: Alert, prefix: str = DEFAULT_PREFIX) -> Outgoing:
    """For `audit.alerts`, beside the subject's other alerts."""
    return Outgoing(ActivityTopics.of(prefix).alerts, encode_alert(alert), alert.subject.encode())


def statement_record(alert: Alert, prefix: str = DEFAULT_PREFIX) -> Outgoing:
    """For the control topic of the alert's chain. Raises `InvalidEvent` when the sequencer would refuse it."""
    return Outgoing(ChainTopics.of(alert.chain, prefix).control, alert_statement(alert))


def alert_statement(alert: Alert) -> bytes:
    """The canonical event `alert.raised`: its id is the alert's, its time the last second of the alert's window.

    Raises `InvalidEvent` when the sequencer would refuse it.
    """
    members = msgspec.to_builtins(alert)
    return control_statement(
        RAISED_ACTION,
        id=alert.id,
        timestamp=alert.window[1],
        actor_id=_ACTOR,
        resource_type=alert.subject_kind,
        resource_id=alert.subject,
        metadata={name: value for name, value in members.items() if name not in _IN_THE_EVENT and value is not None},
        context={} if alert.tenant is None else {"tenant": alert.tenant},
    )
