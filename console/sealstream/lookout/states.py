"""The states of the watch in Kafka: read once when it starts, written when something is to be raised, and now and then.

`store` returns when the state is acknowledged. A crash before leaves the state before, from which the same is found
again; what was forgotten is at most what was not raised.
"""

from __future__ import annotations

from sealstream.kafka import AcknowledgedProducer, KafkaSettings, Outgoing, check_topics, read_until_end
from sealstream.layout.pipeline_watch import WatchState, decode_watch_state, encode_watch_state, watch_topic

__all__ = ["WatchStates"]


class WatchStates:
    """By chain. Raises `Misconfigured` when the topic is not there or not as it must be, `Unavailable`."""

    def __init__(self, kafka: KafkaSettings, prefix: str, producer: AcknowledgedProducer) -> None:
        topic = watch_topic(prefix)
        check_topics(kafka, [topic])
        self._topic = topic.name
        self._producer = producer
        self._stored: dict[str, bytes] = {}
        for records in read_until_end(kafka, self._topic):
            for record in records:
                chain = (record.key or b"").decode(errors="replace")
                if record.value:
                    self._stored[chain] = record.value
                else:
                    self._stored.pop(chain, None)

    def of(self, chain: str) -> WatchState | None:
        """The newest state; None: there is none yet. Raises `NotCanonical` for one that can't be understood."""
        value = self._stored.get(chain)
        return None if value is None else decode_watch_state(value)

    def store(self, chain: str, state: WatchState) -> None:
        """Write it, unless it is what stands there already."""
        value = encode_watch_state(state)
        if self._stored.get(chain) != value:
            self._producer.send([Outgoing(self._topic, value, chain.encode(), 0)])
            self._stored[chain] = value
