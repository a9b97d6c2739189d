"""One application of the bench: an `AuditClient` that emits events at a steady rate and keeps a journal of them.

    E <event>    written before the event is handed to Kafka's driver, as it will be sent
    A <digest>   written when the driver says that it was acknowledged
    F <digest>   written when the driver gave it up

So a kill -9 at any moment leaves a journal that names every event that may have arrived, and every one that must be
there. The client's own statements (`producer.closed`, `audit.loss`) are in it too.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from sealstream.client import AuditClient

__all__ = ["digest_of", "main"]


def digest_of(event: bytes) -> str:
    """How the journal names an event that it has told of."""
    return sha256(event).hexdigest()[:32]


class _Journal:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: bytes, what: bytes) -> None:
        os.write(self._file, kind + b" " + what + b"\n")


def _producer_class(journal: _Journal) -> type[Producer]:
    class Journaled(Producer):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any], **more: Any) -> None:
            self._on_failure = config["on_delivery"]
            told = {"delivery.report.only.error": False, "on_delivery": self._told}
            super().__init__({**config, **told}, **more)

        def produce(self, topic: str, value: bytes, partition: int = 0, on_delivery: Any = None) -> None:
            journal.write(b"E", value)

            def told(error: Any, record: Any) -> None:
                self._told(error, record, on_delivery)

            super().produce(topic, value, partition=partition, on_delivery=told)

        def _told(self, error: Any, record: Any, on_failure: Any = None) -> None:
            journal.write(b"A" if error is None else b"F", digest_of(record.value()).encode())
            if error is not None:
                (on_failure or self._on_failure)(error, record)

    return Journaled


def main() -> int:
    """Emit until SIGTERM; then close in order."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--chain", required=True)
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--journal", type=Path, required=True)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    client = AuditClient(
        asked.chain,
        asked.bootstrap,
        prefix=asked.prefix,
        source={"service": "fault-bench"},
        producer_factory=_producer_class(_Journal(asked.journal)),
    )
    rng = random.Random(os.getpid())
    begun, emitted = time.monotonic(), 0
    while not stop.is_set():
        client.emit(
            rng.choice(["read", "write", "login", "export"]),
            resource_type="patient_record",
            resource_id=f"patient-{rng.randrange(500)}",
            actor_id=f"user-{rng.randrange(50)}",
            result=rng.choice(["success", "success", "failure", "denied"]),
            metadata={"n": emitted, "note": "x" * rng.randrange(100)},
        )
        emitted += 1
        due = begun + emitted / asked.rate
        if time.monotonic() - due > 1:  # after a pause it does not make up for what a real one would not have had
            begun, due = time.monotonic() - emitted / asked.rate, 0.0
        stop.wait(max(0.0, due - time.monotonic()))
    return 0 if client.close(60).undelivered == 0 else 3


if __name__ == "__main__":
    sys.exit(main())
