"""`[forward]` and `[forward.targets.NAME]`: where alerts and entries go, checked without asking a server. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sealstream.errors import Misconfigured
from sealstream.forward import ENTRY_KINDS, FORMAT_KINDS, Format, Kind, Target
from sealstream.forward.formats.pagerduty import ENQUEUE_URL
from sealstream.forward.formats.standard_webhook import signing_keys
from sealstream.layout.alerts import Severity
from sealstream.settings import InFolder, Secret, SecretKeys, broken_rule

__all__ = ["ForwardSection", "TargetSection"]

FilePath = Annotated[str, InFolder()]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.1: a token
_MAILBOX = re.compile(r"[^\s<>@,;:\"]+@[^\s<>@,;:\"]+")
_OWN_FORMAT: Format = "sealstream"
_SCHEMES: dict[Kind, tuple[str, ...]] = {
    "syslog": ("syslog+tls",),
    "email": ("smtp+starttls", "smtps"),
}
_HTTP = ("https", "http")
_SECRET_HEADERS = frozenset({"Authorization", "Proxy-Authorization", "X-Api-Key"})
_SECRET_WORDS = ("authorization", "key", "token", "secret", "password", "signature", "cookie", "auth")
# Settings that only some kinds know.
_ONLY: dict[str, tuple[Kind, ...]] = {
    "sender": ("email",),
    "recipients": ("email",),
    "username": ("email",),
    "acknowledgement": ("splunk-hec",),
    "index": ("splunk-hec",),
    "format": tuple(sorted(FORMAT_KINDS)),
    "resolve": ("pagerduty",),
    "headers": ("webhook", "slack", "pagerduty", "splunk-hec", "otlp"),
    "secret": ("webhook", "pagerduty", "splunk-hec", "email"),
}
_NEEDED: dict[Kind, tuple[str, ...]] = {
    "webhook": ("url", "secret"),
    "slack": ("url",),
    "pagerduty": ("secret",),
    "splunk-hec": ("url", "secret"),
    "syslog": ("url",),
    "otlp": ("url",),
    "email": ("url", "sender", "recipients"),
}


class TargetSection(BaseModel):
    """One target: docs/forwarding.md has an example of each kind."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Kind
    """How it is spoken to."""
    url: Annotated[str, Secret()] = ""
    """https://..., syslog+tls://host:6514, smtp+starttls://host:587 or smtps://host:465. It may hold a secret, as
    Slack's does. Of pagerduty empty: the one that all have.
    """
    what: Literal["alerts", "entries"] = "alerts"
    """Alerts, or every entry of the chains; entries for webhook, splunk-hec, syslog and otlp."""
    format: Format = _OWN_FORMAT
    """The schema that messages have: our own, or `ocsf`, `ecs`, `cloudevents` (docs/schemas.md); for webhook,
    splunk-hec, syslog and otlp.
    """
    secret: Annotated[str, Secret()] = ""
    """webhook: `whsec_...`, several with spaces between; pagerduty: the routing key; splunk-hec: the token; email: the
    password.
    """
    headers: Annotated[dict[str, str], SecretKeys(_SECRET_HEADERS, _SECRET_WORDS)] = Field(default_factory=dict)
    """Further headers of each request, such as `Authorization`."""
    ca_file: FilePath = ""
    """Certificates (PEM) of the authority that signed the receiver's; empty: those that the system trusts."""
    certificate_file: FilePath = ""
    """A certificate (PEM) of our own, for receivers that ask for one."""
    key_file: FilePath = ""
    """Its private key (PEM)."""
    allow_networks: list[str] = Field(default_factory=list)
    """Networks that are not public and may be connected to all the same, such as 10.1.0.0/16."""
    minimum_severity: Severity = "low"
    """Of alerts: this one and worse."""
    detectors: list[str] = Field(default_factory=list)
    """Of alerts: of these detectors or Sigma rules' detectors alone. Empty: of all."""
    chains: list[str] = Field(default_factory=list)
    """Of these chains alone. Empty: of all."""
    tenants: list[str] = Field(default_factory=list)
    """Of these tenants alone. Empty: of all, and of none."""
    start: Literal["now", "earliest"] = "now"
    """Where a target begins that has never run: with what comes, or with all that Kafka has."""
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """How long a receiver may take to connect, and to answer."""
    give_up_seconds: Annotated[float, Field(ge=0)] = 3600.0
    """How long a message is tried that the receiver answers with an error of its own, before it becomes a letter. One
    that does not answer is tried for ever.
    """
    sender: str = ""
    """email: the address that mails are from."""
    recipients: list[str] = Field(default_factory=list)
    """email: the addresses that they go to."""
    username: str = ""
    """email: the user to sign in as; empty: no sign-in."""
    acknowledgement: bool = True
    """splunk-hec: wait until a batch is indexed. The token must have indexer acknowledgement switched on."""
    index: str = ""
    """splunk-hec: the index; empty: the token's own."""
    resolve: bool = True
    """pagerduty: an alert that is closed ends its incident."""

    @field_validator("allow_networks")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for text in networks:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text!r} is no network: expected one such as 10.1.0.0/16 ({error})") from error
        return networks

    @field_validator("headers")
    @classmethod
    def _one_line(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"{name} holds more than printable ASCII")
        return headers

    @field_validator("sender")
    @classmethod
    def _mailbox(cls, address: str) -> str:
        if address and not _MAILBOX.fullmatch(address):
            raise ValueError(f"{address!r} is no address: expected one such as sealstream@example.com")
        return address

    @field_validator("recipients")
    @classmethod
    def _mailboxes(cls, addresses: list[str]) -> list[str]:
        return [cls._mailbox(address) for address in addresses]

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name, kinds in _ONLY.items():
            told = getattr(self, name) not in ("", [], {}, False, _OWN_FORMAT)
            if name in self.model_fields_set and self.kind not in kinds and told:
                raise broken_rule(name, f"has no effect for kind {self.kind}: it is for {', '.join(kinds)}")
        for name in _NEEDED[self.kind]:
            if not getattr(self, name):
                raise broken_rule(name, f"is missing: kind {self.kind} needs it")
        if self.what == "entries" and self.kind not in ENTRY_KINDS:
            raise broken_rule("what", f"entries can't go to {self.kind}: expected {', '.join(sorted(ENTRY_KINDS))}")
        if self.what == "entries" and (self.detectors or self.minimum_severity != "low"):
            name = "detectors" if self.detectors else "minimum_severity"
            raise broken_rule(name, "has no effect for entries: it is for alerts")
        if bool(self.certificate_file) != bool(self.key_file):
            missing = "key_file" if self.certificate_file else "certificate_file"
            raise broken_rule(missing, "is missing: a certificate and its key are given together")
        if self.username and not self.secret:
            raise broken_rule("secret", "is missing: the password of username")
        if self.kind == "email" and self.secret and not self.username:
            raise broken_rule("username", "is missing: secret is its password")
        if self.kind == "webhook":
            try:
                signing_keys(self.secret)
            except Misconfigured as error:
                raise broken_rule("secret", str(error)) from error
        self._check_url()
        return self

    def _check_url(self) -> None:
        """Says what is wrong without the address, which may be a secret."""
        if not self.url:
            return
        schemes = _SCHEMES.get(self.kind, _HTTP)
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise broken_rule("url", "is no address: its host or port can't be read") from error
        wanted = " or ".join(f"{each}://" for each in schemes)
        if parts.scheme not in schemes or not parts.hostname or port == 0:
            raise broken_rule("url", f"is no address for kind {self.kind}: expected {wanted}host")
        if not self.url.isascii() or not self.url.isprintable() or " " in self.url:
            raise broken_rule("url", "holds more than printable ASCII: write a name in punycode, a path in %-escapes")
        if parts.username is not None or parts.password is not None:
            raise broken_rule("url", "holds a user or a password: they go into headers or secret")
        if parts.scheme == "http" and not self.allow_networks:
            raise broken_rule(
                "url",
                "sends what it holds in the clear: expected https:// (http:// is for receivers of your own networks, "
                "which allow_networks names)",
            )
        if self.ca_file and parts.scheme == "http":
            raise broken_rule("ca_file", "has no effect with http://")
        if self.kind in ("syslog", "email") and (parts.path.strip("/") or parts.query):
            raise broken_rule("url", f"has a path: expected {wanted}host:port alone")

    def target(self, name: str, link: str, log: str) -> Target:
        """As the forward sink takes it."""
        return Target(
            name=name,
            kind=self.kind,
            url=self.url or ENQUEUE_URL,
            what=self.what,
            secret=self.secret,
            headers=self.headers,
            sender=self.sender,
            recipients=tuple(self.recipients),
            username=self.username,
            ca_file=self.ca_file,
            certificate_file=self.certificate_file,
            key_file=self.key_file,
            minimum_severity=self.minimum_severity,
            detectors=tuple(self.detectors),
            chains=tuple(self.chains),
            tenants=tuple(self.tenants),
            start=self.start,
            allow_networks=tuple(self.allow_networks),
            timeout_s=self.timeout_seconds,
            give_up_s=self.give_up_seconds,
            acknowledgement=self.acknowledgement,
            splunk_index=self.index,
            resolve=self.resolve,
            format=self.format,
            link=link,
            log=log,
        )


class ForwardSection(BaseModel):
    """The forward sink (docs/forwarding.md): `sealstream run forward` sends to each target below."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    link: str = ""
    """An address that people find an alert at, with `{id}` and `{chain}` in it; it is put into each message."""
    targets: dict[str, TargetSection] = Field(default_factory=dict)

    @field_validator("targets")
    @classmethod
    def _names(cls, targets: dict[str, TargetSection]) -> dict[str, TargetSection]:
        for name in targets:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a target: expected a-z, 0-9 and '-', at most 63")
        return targets

    @field_validator("link")
    @classmethod
    def _address(cls, link: str) -> str:
        if link and not link.startswith(("https://", "http://")):
            raise ValueError("expected https://..., with {id} where the alert's id goes")
        return link
