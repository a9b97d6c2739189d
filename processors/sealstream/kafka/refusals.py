"""Why no broker was connected: which of the driver's reports tells it, and what the driver leaves out of it.

The driver says the same of every certificate that it refuses; one more handshake with that broker tells whether it has
expired, names another host or was signed by another authority. What a broker thinks of a client's certificate comes as
an alert of TLS (RFC 8446, section 6.2). Nothing is sent after the handshake, and nothing is kept.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence

from confluent_kafka import KafkaError

from sealstream.kafka.settings import KafkaSettings

__all__ = ["in_words", "is_lasting", "most_telling"]

_CAUSES = (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE, KafkaError._TRANSPORT)
_ALERT = re.compile(
    r"alert ((?:certificate (?:required|unknown|expired|revoked))|(?:bad|unsupported) certificate|unknown ca)"
)
_BROKER = re.compile(r"ssl://(?P<host>\[[^\]]+\]|[^/:\]]+):(?P<port>\d+)/")
_OWN_CERTIFICATE = ("ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location")
_HANDSHAKE_S = 3.0


def most_telling(heard: Sequence[KafkaError]) -> KafkaError | None:
    """Of what the driver reported beside its answers, the best reason why no broker was connected."""
    for error in heard:
        if _ALERT.search(error.str()):
            return error
    for cause in _CAUSES:
        for error in heard:
            if error.code() == cause:
                return error
    return None


def is_lasting(reason: KafkaError) -> bool:
    """Whether somebody must mend something: a certificate, a password, a name. Else the broker may come back."""
    return reason.code() != KafkaError._TRANSPORT or _ALERT.search(reason.str()) is not None


def in_words(reason: KafkaError, kafka: KafkaSettings) -> str:
    """The reason, with what the driver does not say."""
    said = str(reason.str())
    if "certificate verify failed" in said and (broker := _BROKER.search(said)):
        host, port = broker["host"].strip("[]"), int(broker["port"])
        if found := _refused(host, port, kafka):
            return f"the certificate of {host}:{port} is refused (certificate verify failed): {found}"
    if alert := _ALERT.search(said):
        if any(option in kafka.options for option in _OWN_CERTIFICATE):
            return (
                f"the broker refuses this client's certificate (TLS alert: {alert[1]}): it has expired, or no "
                "authority that the broker trusts has signed it"
            )
        return f"the broker wants a certificate of this client, and none was given (TLS alert: {alert[1]})"
    return said


def _refused(host: str, port: int, kafka: KafkaSettings) -> str:
    """What is wrong with the broker's certificate; empty when it could not be seen."""
    try:
        context = ssl.create_default_context(cafile=kafka.options.get("ssl.ca.location"))
        if kafka.options.get("ssl.endpoint.identification.algorithm") == "none":
            context.check_hostname = False
        with (
            socket.create_connection((host, port), _HANDSHAKE_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return str(error.verify_message).removesuffix(".")
    except OSError:
        return ""
