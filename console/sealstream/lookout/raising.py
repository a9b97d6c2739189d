"""Raises alerts of the pipeline as the workers raise theirs: into `audit.alerts`, and into their chain's control topic.

What the chain holds already is not raised again. All is acknowledged when `raise_all` returns; a crash before has the
same alerts raised again with the same bytes, over which the sequencer passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from typing import NamedTuple

import structlog

from sealstream.anomaly.raising import alert_record, statement_record
from sealstream.errors import InvalidEvent, SealstreamError
from sealstream.kafka import AcknowledgedProducer
from sealstream.layout.alerts import Alert

__all__ = ["Known", "Raised", "Raising"]

Known = Callable[[str, Collection[str]], Set[str]]
"""Which of these alerts this chain has sealed already, by id. Raises a `SealstreamError` when nobody can say."""


class Raised(NamedTuple):
    """How many were raised, were `known` to the chain, and could not be said to it."""

    raised: int
    known: int
    unsealed: int


class Raising:
    """For the alerts of any chain of a prefix."""

    def __init__(self, prefix: str, producer: AcknowledgedProducer, known: Known) -> None:
        self._prefix = prefix
        self._producer = producer
        self._known = known
        self._log = structlog.get_logger().bind(process="watch")

    def raise_all(self, chain: str, alerts: Sequence[Alert]) -> Raised:
        """Raises `Unavailable` and `Misconfigured`; to call it again with the same is right then."""
        known = self._already_there(chain, [alert.id for alert in alerts])
        fresh = [alert for alert in alerts if alert.id not in known]
        self._producer.send([alert_record(alert, self._prefix) for alert in fresh])
        unsealed = 0
        statements = []
        for alert in fresh:
            self._log.warning("alert", detector=alert.detector, severity=alert.severity, words=alert.summary)
            try:
                statements.append(statement_record(alert, self._prefix))
            except InvalidEvent as error:
                unsealed += 1
                self._log.error("an alert can't be said to the chain", alert=alert.id, why=str(error))
        self._producer.send(statements)
        return Raised(len(fresh), len(alerts) - len(fresh), unsealed)

    def _already_there(self, chain: str, ids: Collection[str]) -> Set[str]:
        """An alert told twice is less bad than one not told."""
        try:
            return self._known(chain, ids)
        except SealstreamError as error:
            self._log.warning("nobody says whether alerts were raised before: raising them", why=str(error))
            return frozenset()
