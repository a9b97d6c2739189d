"""What a worker writes of a batch, in the order that makes every crash harmless: alerts, their statements, then states.

All of a step is acknowledged before the next begins. A crash before the states were written has the batch handled
again from the states before: the same alerts, byte for byte. Only then may the batch's offsets be committed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence, Set
from typing import NamedTuple

import structlog

from sealstream.anomaly.raising import alert_record, statement_record
from sealstream.anomaly.worker_handling import State
from sealstream.errors import InvalidEvent, Misconfigured, SealstreamError
from sealstream.kafka import AcknowledgedProducer, KafkaSettings, Outgoing
from sealstream.layout.alerts import Alert
from sealstream.layout.workers import WorkerTopics, counted_header

__all__ = ["BatchWriter", "Known", "Written"]

Known = Callable[[Collection[str]], Set[str]]
"""Which of these alerts the chain holds already, by id. Raises a `SealstreamError` when nobody can say."""

_ASK_FOR_S = 10.0
_PAUSE_S = 0.5


class Written(NamedTuple):
    """`raised`: alerts that were written; `known`: which the chain held; `unsealed`: raised, but for no chain."""

    raised: int
    known: int
    unsealed: int


class BatchWriter:
    """For one thread at a time. `known` None: nobody is asked; a repeat is left to the sequencer and to readers."""

    def __init__(self, kafka: KafkaSettings, prefix: str, known: Known | None = None) -> None:
        self._producer = AcknowledgedProducer(kafka)
        self._prefix = prefix
        self._topics = WorkerTopics.of(prefix)
        self._known = known
        self._log = structlog.get_logger().bind(process="anomaly")

    def write(self, alerts: Sequence[Alert], perhaps_repeated: Collection[str], states: Sequence[State]) -> Written:
        """Returns when everything is acknowledged. `perhaps_repeated`: ids of alerts that may have been raised before.

        Raises `Unavailable` and `Misconfigured`; to call it again with the same is right then.
        """
        known = self._already_there(perhaps_repeated)
        fresh = [alert for alert in alerts if alert.id not in known]
        self._producer.send([alert_record(alert, self._prefix) for alert in fresh])
        unsealed = self._seal(fresh)
        self._producer.send([self._state_record(state) for state in states])
        return Written(len(fresh), len(alerts) - len(fresh), unsealed)

    def close(self) -> None:
        """Ends the connection."""
        self._producer.close()

    def _seal(self, alerts: Sequence[Alert]) -> int:
        """An alert that can't be sealed is known all the same, and holds no other up."""
        unsealed = 0
        statements: defaultdict[str, list[Outgoing]] = defaultdict(list)
        for alert in alerts:
            try:
                statements[alert.chain].append(statement_record(alert, self._prefix))
            except InvalidEvent as error:
                unsealed += 1
                self._log.error("an alert can't be said to the chain", alert=alert.id, why=str(error))
        for chain, records in statements.items():
            try:
                self._producer.send(records)
            except Misconfigured as error:
                unsealed += len(records)
                self._log.error("alerts can't be said to their chain", chain=chain, why=str(error))
        return unsealed

    def _already_there(self, ids: Collection[str]) -> Set[str]:
        """An alert told twice is less bad than one told late: after some seconds nothing counts as known."""
        if self._known is None or not ids:
            return frozenset()
        deadline = time.monotonic() + _ASK_FOR_S
        while True:
            try:
                return self._known(ids)
            except SealstreamError as error:
                if time.monotonic() > deadline:
                    self._log.warning("nobody says whether alerts were raised before: raising them", why=str(error))
                    return frozenset()
            time.sleep(_PAUSE_S)

    def _state_record(self, state: State) -> Outgoing:
        topic = self._topics.actors if state.kind == "actor" else self._topics.addresses
        return Outgoing(topic, state.value, state.key, state.partition, counted_header(state.counted))
