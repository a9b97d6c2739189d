"""Faust's way to Kafka, as the watch needs it: reading committed records alone, with our security settings.

Faust reads what was never committed unless it writes in transactions of its own; here its consumer is told before it
starts, and looked at after. Offsets are committed by who handled the records (`commit_handled`), and not by Faust's
count of acknowledgements, which can stand still for good where markers make gaps. Keeps nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, cast

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT
from yarl import URL

from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings, Place

__all__ = ["CommittedTransport", "RawRecords", "broker_urls", "credentials_of"]

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_NOT_HERE = ("ssl.ca.pem", "ssl.certificate.pem", "ssl.key.pem", "ssl.keystore.location", "ssl.engine.location")
_READ_COMMITTED = 1


class _CommittedThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        if self._consumer._fetcher._isolation_level != _READ_COMMITTED:
            raise Misconfigured(
                "Faust's consumer does not read committed records alone: faust-streaming or aiokafka is of another "
                "version than sealstream[anomaly] asks for"
            )


class _CommittedConsumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def commit_handled(self, offsets: Mapping[Place, int]) -> bool:
        """Commit where each partition goes on; False when the group is about to share them out anew."""
        return bool(await self._commit({TP(*place): offset for place, offset in offsets.items()}))


class CommittedTransport(driver.Transport):  # type: ignore[misc]
    """For `app.transport`."""

    Consumer = _CommittedConsumer


class RawRecords(faust.Schema):  # type: ignore[misc]
    """Keys and values as they are: whether they can be understood is for who handles them."""

    def loads_key(self, app: AppT, message: Any, **given: Any) -> bytes | None:
        return cast(bytes | None, message.key)

    def loads_value(self, app: AppT, message: Any, **given: Any) -> bytes | None:
        return cast(bytes | None, message.value)


def broker_urls(kafka: KafkaSettings) -> list[URL]:
    """The brokers as Faust takes them."""
    return [URL(f"kafka://{each.strip().rpartition('//')[2]}") for each in kafka.bootstrap.split(",") if each.strip()]


def credentials_of(kafka: KafkaSettings) -> SSLCredentials | SASLCredentials | None:
    """How librdkafka's options about TLS and SASL read to Faust. Raises `Misconfigured` for those that it can't do."""
    options = kafka.options
    for name in _NOT_HERE:
        if options.get(name):
            raise Misconfigured(f"kafka.options: the anomaly workers can't use {name}: name files instead")
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    context = _tls(options) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL_"):
        return None if context is None else SSLCredentials(context)
    mechanism = options.get("sasl.mechanisms") or options.get("sasl.mechanism") or ""
    if mechanism not in _MECHANISMS:
        raise Misconfigured(
            f"kafka.sasl_mechanism is {mechanism!r}: the anomaly workers can do {', '.join(_MECHANISMS)}"
        )
    return SASLCredentials(
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        ssl_context=context,
        mechanism=mechanism,
    )


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
        if certificate := options.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, options.get("ssl.key.location"), options.get("ssl.key.password"))
    except (OSError, ValueError) as error:
        raise Misconfigured(f"kafka: the certificates can't be used: {error}") from error
    if options.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if options.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
