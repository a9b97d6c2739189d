"""The sections of the settings: what each is called, what it may be, and which rules hold among a section's own.

What stands beneath a field is its documentation: `config` shows it, and the reference in docs/configuration.md is made
of it. Pure.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sealstream.anomalies.settings import DetectorsSection, check_zone, given_thresholds
from sealstream.errors import Misconfigured
from sealstream.layout import named_retention
from sealstream.layout.activity import PARTITIONS
from sealstream.settings import InFolder, Secret, SecretKeys, broken_rule

__all__ = [
    "ActivitySection",
    "AnomalySection",
    "ArchiveSection",
    "ChainSection",
    "ContinuesSection",
    "KafkaSection",
    "PostgresSection",
]


def _upper(value: Any) -> Any:
    """As Kafka's own tools and librdkafka spell it: in either case."""
    return value.upper() if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


Protocol = Literal["", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
FilePath = Annotated[str, InFolder()]
Dsn = Annotated[str, Secret(url=True)]

# Named settings, and the options of librdkafka that they become.
_KAFKA_OPTIONS = {
    "security_protocol": "security.protocol",
    "ca_file": "ssl.ca.location",
    "certificate_file": "ssl.certificate.location",
    "key_file": "ssl.key.location",
    "key_password": "ssl.key.password",
    "sasl_mechanism": "sasl.mechanisms",
    "username": "sasl.username",
    "password": "sasl.password",
    "token_url": "sasl.oauthbearer.token.endpoint.url",
    "token_scope": "sasl.oauthbearer.scope",
    "token_ca_file": "https.ca.location",
    "client_id": "sasl.oauthbearer.client.id",
    "client_secret": "sasl.oauthbearer.client.secret",
}
_TOKEN_METHOD = "sasl.oauthbearer.method"
_ALIASES = {"sasl.mechanism": "sasl.mechanisms"}
_KAFKA_SECRETS = frozenset(
    {
        "sasl.oauthbearer.client.secret",
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    }
)
_SECRET_WORDS = ("password", "passphrase", "secret", "token", "key.pem", "oauthbearer.config")


class KafkaSection(_Section):
    """Where Kafka is, and how its clients prove who they are."""

    bootstrap: str = "127.0.0.1:19092"
    """host:port of one broker or several, with commas between."""
    prefix: str = "audit"
    """What the names of all topics begin with. Chains on one Kafka need different names all the same: what fences a
    second sequencer is called by the chain's name alone.
    """
    replication: Annotated[int, Field(ge=1, le=9)] = 1
    """Replicas of topics that are made; 3 where there are three brokers."""
    security_protocol: Annotated[Protocol, BeforeValidator(_upper)] = ""
    """TLS or not, SASL or not; empty: PLAINTEXT, or what `options` say."""
    ca_file: FilePath = ""
    """Certificates (PEM) of the authority that signed the brokers'; empty: those that the system trusts."""
    certificate_file: FilePath = ""
    """This client's own certificate (PEM), for brokers that ask for one."""
    key_file: FilePath = ""
    """The private key (PEM) of `certificate_file`."""
    key_password: Annotated[str, Secret()] = ""
    """The password of `key_file`, if it has one."""
    sasl_mechanism: Annotated[Mechanism, BeforeValidator(_upper)] = ""
    """How `username` and `password` are proved; or OAUTHBEARER, with a token from `token_url`."""
    username: str = ""
    """The Kafka user; ACLs are given to `User:<username>`."""
    password: Annotated[str, Secret()] = ""
    """Its password."""
    token_url: str = ""
    """Where `client_id` gets its tokens: OAuth 2.0's token endpoint, by client credentials (RFC 6749, section 4.4)."""
    token_scope: str = ""
    """The scope that is asked for, where the authorization server wants one."""
    token_ca_file: FilePath = ""
    """Certificates (PEM) of the authority that signed that of `token_url`; empty: those that the system trusts."""
    client_id: str = ""
    """Who asks for tokens. ACLs are given to `User:<sub>`, what the token calls this client."""
    client_secret: Annotated[str, Secret()] = ""
    """Its secret."""
    options: Annotated[dict[str, str], SecretKeys(_KAFKA_SECRETS, _SECRET_WORDS)] = Field(default_factory=dict)
    """Further options of librdkafka, as they are. One that a setting above stands for is given in one place only."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name, option in _KAFKA_OPTIONS.items():
            given = {_ALIASES.get(key, key): key for key in self.options}
            if getattr(self, name) and option in given:
                raise broken_rule(
                    name, f"kafka.options has {given[option]} too, which is the same: give one of the two"
                )
        options = self.driver_options()
        protocol = options.get("security.protocol", "PLAINTEXT").upper()
        tls, sasl = protocol.endswith("SSL"), protocol.startswith("SASL_")
        for name in ("ca_file", "certificate_file", "key_file"):
            if getattr(self, name) and not tls:
                raise broken_rule(name, f"has no effect with security_protocol {protocol}: expected SSL or SASL_SSL")
        if bool(self.certificate_file) != bool(self.key_file):
            missing = "key_file" if self.certificate_file else "certificate_file"
            raise broken_rule(missing, "is missing: a client's certificate and its key are given together")
        for name in ("username", "password", "sasl_mechanism"):
            if getattr(self, name) and not sasl:
                raise broken_rule(
                    name, f"has no effect with security_protocol {protocol}: expected SASL_SSL (or SASL_PLAINTEXT)"
                )
        mechanism = {_ALIASES.get(key, key): value for key, value in options.items()}.get("sasl.mechanisms", "").upper()
        if self.username and not mechanism:
            raise broken_rule("sasl_mechanism", "is missing: expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
        self._tokens_fit(mechanism)
        return self

    def _tokens_fit(self, mechanism: str) -> None:
        if mechanism != "OAUTHBEARER":
            for name in ("token_url", "token_scope", "token_ca_file", "client_id", "client_secret"):
                if getattr(self, name):
                    raise broken_rule(name, "has no effect without sasl_mechanism OAUTHBEARER")
            return
        for name in ("username", "password"):
            if getattr(self, name):
                raise broken_rule(name, "has no effect with OAUTHBEARER: expected client_id and client_secret")
        if self.token_url or not self.options.get(_TOKEN_METHOD):
            for name in ("token_url", "client_id", "client_secret"):
                if not getattr(self, name) and _KAFKA_OPTIONS[name] not in self.options:
                    raise broken_rule(name, "is missing: OAUTHBEARER needs token_url, client_id and client_secret")
        if self.token_url and not self.token_url.startswith(("https://", "http://")):
            raise broken_rule("token_url", "expected an address that begins with https://")

    def driver_options(self) -> dict[str, str]:
        """All of it as librdkafka takes it."""
        named = {option: getattr(self, name) for name, option in _KAFKA_OPTIONS.items()}
        method = {_TOKEN_METHOD: "oidc"} if self.token_url else {}
        return method | self.options | {option: value for option, value in named.items() if value}


class ActivitySection(_Section):
    """What is done by whom, by the second: the topics that the watch reads, shared by all chains."""

    partitions: Annotated[int, Field(ge=1, le=512)] = PARTITIONS
    """Of each topic with activity and alerts: how many workers can share the actors out. It stays as the topics were
    made: another number would give actors to other workers than those who know them.
    """


class PostgresSection(_Section):
    """One DSN a role: `postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path/ca.pem`."""

    admin_dsn: Dsn = ""
    """A superuser, or the database's owner with CREATEROLE. Only `migrate` and `chain create` use it."""
    sink_dsn: Dsn = ""
    """The role `sealstream_sink`: the Postgres sink."""
    reader_dsn: Dsn = ""
    """The role `sealstream_reader`: questions and verification."""
    keeper_dsn: Dsn = ""
    """The role `sealstream_keeper`: repair and replay."""

    def by_role(self) -> dict[str, str]:
        """Each role's DSN, empty where none is given."""
        return {name.removesuffix("_dsn"): getattr(self, name) for name in type(self).model_fields}


class ArchiveSection(_Section):
    """The bucket with Object Lock."""

    bucket: str = "audit-archive"
    """Its name. Empty: there is no archive."""
    endpoint_url: Annotated[str, Secret(url=True)] = ""
    """http:// or https:// address of another S3 than AWS's own."""
    region: str = "us-east-1"
    """The bucket's region."""
    access_key: Annotated[str, Secret()] = ""
    """The access key's id. Empty: found as AWS's own tools do (variables, profile, role)."""
    secret_key: Annotated[str, Secret()] = ""
    """The access key's secret."""
    ca_file: FilePath = ""
    """Certificates (PEM) of the authority that signed the endpoint's; empty: those that boto3 trusts."""
    replayed: bool = False
    """Written by `sealstream replay archive`: the bucket's version ids are others than the chain has sealed."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if bool(self.access_key) != bool(self.secret_key):
            missing = "secret_key" if self.access_key else "access_key"
            raise broken_rule(missing, "is missing: access_key and secret_key are given together, or neither")
        if self.ca_file and self.endpoint_url.startswith("http://"):
            raise broken_rule("ca_file", "has no effect with http://: expected an endpoint_url with https://")
        return self


class AnomalySection(_Section):
    """The watch over what everybody does (`sealstream run anomaly`, `sealstream anomaly`)."""

    chains: list[str] = Field(default_factory=list)
    """The chains that `sealstream anomaly` looks at where it is not told; empty: all."""
    time_zone: str = "UTC"
    """The clock of actors, by which an hour is usual or not, as in Europe/Berlin."""
    time_zones: dict[str, str] = Field(default_factory=dict)
    """The clock of those whose events name a tenant, by tenant."""
    sigma_rules: FilePath = ""
    """A folder of Sigma rules (docs/sigma.md), read again when a file in it changes; empty: none."""
    worker_silent_seconds: Annotated[float, Field(ge=2)] = 30.0
    """A worker that says nothing for so long is ended, and another started."""
    worker_still_seconds: Annotated[float, Field(ge=2)] = 60.0
    """The same for one that has records to handle, and whose committed offset stands for so long."""
    detectors: DetectorsSection = Field(default_factory=DetectorsSection)  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _zones_exist(self) -> Self:
        for name, zone in (("time_zone", self.time_zone), *(("time_zones", zone) for zone in self.time_zones.values())):
            try:
                check_zone(zone)
            except ValueError as error:
                raise broken_rule(name, str(error)) from error
        return self

    def thresholds(self) -> dict[str, dict[str, Any]]:
        """The thresholds that were set, by detector."""
        return given_thresholds(self.detectors, self.time_zone, self.time_zones)


class ContinuesSection(_Section):
    """What a successor's entry 1 says; written by `sealstream chain continue`."""

    chain: str
    """The chain that could not go on."""
    origin: str
    """Its origin."""
    checkpoint: str
    """The last checkpoint of it that is known."""
    first_lost: Annotated[int, Field(ge=0)]
    """The first entry that is lost."""
    last_lost: Annotated[int, Field(ge=0)]
    """The last one."""
    carried_from: str = ""
    """The id of the old raw topic whose records were carried over."""
    carried: int = 0
    """Up to which offset they were."""


class ChainSection(_Section):
    """One chain; written by `sealstream chain create`. What is sealed in its entry 0 can't be changed."""

    vkey: str
    """Its public key, as a C2SP verifier key."""
    key_file: str = ""
    """Its signing key, relative to the settings file. Checkpointing alone needs it; leave it out on other machines."""
    retention: str = "soc2"
    """hipaa, pci, soc2, gdpr:<duration> or an own <duration>. Sealed in entry 0."""
    segment_entries: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """A segment ends at so many entries. Sealed in entry 0."""
    segment_bytes: Annotated[int, Field(ge=1)] = 67_108_864
    """Or at so many bytes. Sealed in entry 0."""
    segment_seconds: Annotated[int, Field(ge=1)] = 300
    """Or so many seconds after its first event. Sealed in entry 0."""
    closed_at: str = ""
    """When it was closed: it is verified and asked, and never run again."""
    continued_as: str = ""
    """The chain that it goes on as."""
    continues: ContinuesSection | None = None

    @field_validator("retention")
    @classmethod
    def _is_a_policy(cls, policy: str) -> str:
        try:
            named_retention(policy)
        except Misconfigured as error:
            raise ValueError(str(error)) from error
        return policy
