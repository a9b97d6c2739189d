"""A target: where messages go, in which form, and which of them. Values alone; the settings check them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from sealstream.layout.alerts import Severity

__all__ = ["ENTRY_KINDS", "FORMAT_KINDS", "KINDS", "Format", "Kind", "Target"]

Kind = Literal["webhook", "slack", "pagerduty", "splunk-hec", "syslog", "otlp", "email"]
KINDS: tuple[Kind, ...] = ("webhook", "slack", "pagerduty", "splunk-hec", "syslog", "otlp", "email")
ENTRY_KINDS: frozenset[Kind] = frozenset({"webhook", "splunk-hec", "syslog", "otlp"})
"""Those that can take every entry; the others are for people."""
FORMAT_KINDS = ENTRY_KINDS
"""Those whose messages can be of other people's schemas."""

Format = Literal["sealstream", "ocsf", "ecs", "cloudevents"]

_NONE: Mapping[str, str] = MappingProxyType({})


class Target(NamedTuple):
    """One target.

    `url`: https://, http://, syslog+tls://, smtp+starttls:// or smtps://. `secret`: signing secrets with spaces between
    (webhook), routing key (PagerDuty), token (Splunk), password (e-mail). `headers`: further ones of each request.
    `sender`, `recipients`, `username`: e-mail's. Filters: empty means all; `minimum_severity` and `detectors` are for
    alerts. `start`: where a target begins that has never run. `allow_networks`: addresses that are not public, and may
    be connected to all the same. `give_up_s`: how long a message is tried that the receiver answers with an error of
    its own. `acknowledgement`, `splunk_index`: Splunk's. `resolve`: whether PagerDuty is told of closed alerts.
    `format`: the schema that messages have.
    `link`: an address with `{id}` and `{chain}` in it, for people. `log`: the log's name.
    """

    name: str
    kind: Kind
    url: str
    what: Literal["alerts", "entries"] = "alerts"
    secret: str = ""
    headers: Mapping[str, str] = _NONE
    sender: str = ""
    recipients: Sequence[str] = ()
    username: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    minimum_severity: Severity = "low"
    detectors: Sequence[str] = ()
    chains: Sequence[str] = ()
    tenants: Sequence[str] = ()
    start: Literal["now", "earliest"] = "now"
    allow_networks: Sequence[str] = ()
    timeout_s: float = 10.0
    give_up_s: float = 3600.0
    acknowledgement: bool = True
    splunk_index: str = ""
    resolve: bool = True
    format: Format = "sealstream"
    link: str = ""
    log: str = ""
