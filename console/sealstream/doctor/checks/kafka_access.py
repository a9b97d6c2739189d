"""Who gets into Kafka, and what each may write: read from the broker, and tried.

An application's way in is tried with its own credentials where they are given (`--producer-config`), else with those of
the settings. Nothing is written (`sealstream.kafka.probing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealstream.doctor.asking import Asking
from sealstream.doctor.outcomes import Check, Outcome, failed, folded, passed, unknown
from sealstream.errors import SealstreamError
from sealstream.kafka import KafkaSettings
from sealstream.kafka.inspecting import inspect
from sealstream.kafka.probing import Rule, acls, broker_configs, would_take
from sealstream.layout import ChainTopics

__all__ = ["CHECKS", "judged_authorizer", "judged_rules"]

_TLS = (
    "give the brokers a listener with TLS (docs/configuration.md), and set kafka.security_protocol to SASL_SSL or SSL"
)
_ACLS = "set authorizer.class.name on the brokers, and give each client its ACLs: `sealstream config acls` prints them"
_ANSWER_S = 4.0
_OPEN_TO_ALL = "allow.everyone.if.no.acl.found"
_OWN = ("chain", "checkpoints", "segments")
_SPOILING = ("DELETE", "ALTER", "ALTER_CONFIGS")


def _tls(asking: Asking) -> Outcome:
    kafka = asking.system.kafka
    protocol = _protocol(kafka)
    brokers = _brokers(asking)
    if not protocol.endswith("SSL"):
        return failed(f"connected to {kafka.bootstrap} by {protocol}: events can be read on the way", to_do=_TLS)
    if kafka.options.get("enable.ssl.certificate.verification", "true").lower() == "false":
        return failed(
            f"connected to {kafka.bootstrap} by {protocol}, and the broker's certificate is not checked",
            to_do="take enable.ssl.certificate.verification out of kafka.options, and set kafka.ca_file",
        )
    return passed(f"connected to {kafka.bootstrap} ({brokers} brokers) by {protocol}, its certificate checked")


def _authentication(asking: Asking) -> Outcome:
    kafka = asking.system.kafka
    _brokers(asking)
    stranger = {
        name: value
        for name, value in kafka.options.items()
        if not name.startswith(("sasl.", "ssl.certificate", "ssl.key", "https."))
    }
    tried = []
    for protocol in ("PLAINTEXT", "SSL"):
        options = {**stranger, "security.protocol": protocol}
        if protocol == "PLAINTEXT":
            options = {name: value for name, value in options.items() if not name.startswith("ssl.")}
        try:
            inspect(KafkaSettings(kafka.bootstrap, options), [], [], _ANSWER_S)
        except SealstreamError:
            tried.append(protocol)
        else:
            return failed(
                f"a client without any credentials was let in at {kafka.bootstrap} by {protocol}",
                to_do="have the listener ask for SASL (SCRAM) or a client's certificate, and close the open ones",
            )
    return passed(f"a client without credentials was refused at {kafka.bootstrap}, tried by {' and '.join(tried)}")


def _authorization(asking: Asking) -> Outcome:
    try:
        rules = asking.once("acls", lambda: acls(asking.system.kafka))
    except SealstreamError as error:
        if "uthoriz" not in str(error):
            raise
        return unknown(
            "an authorizer is in force: it refuses this user the list of ACLs, and so how far it closes what has none",
            to_do="ask as a user with the ACLs of a `doctor`: `sealstream config acls CHAIN --for doctor`",
        )
    if rules is None:
        return failed("the brokers have no authorizer: everybody may write to every topic", to_do=_ACLS)
    told = [each[_OPEN_TO_ALL] for each in broker_configs(asking.system.kafka, [_OPEN_TO_ALL])]
    return folded((f"broker {n}", judged_authorizer(len(rules), each)) for n, each in enumerate(told, 1))


def judged_authorizer(rules: int, open_to_all: str | None) -> Outcome:
    """Whether a topic without ACLs is closed. `open_to_all`: None: not set; empty: set, and not told to what."""
    said = f"an authorizer is in force, with {rules:,} ACLs"
    if open_to_all == "":
        return unknown(
            f"{said}; {_OPEN_TO_ALL} is set, and the brokers do not tell to what",
            to_do=f"look into the brokers' settings: {_OPEN_TO_ALL} must be false, or not there",
        )
    if open_to_all is not None and open_to_all.lower() == "true":
        return failed(
            f"{said}, and {_OPEN_TO_ALL} is true: a topic without ACLs is open to all",
            to_do=f"set {_OPEN_TO_ALL}=false on the brokers",
        )
    return passed(said)


def _separation(asking: Asking) -> Outcome:
    rules = asking.once("acls", lambda: acls(asking.system.kafka))
    if rules is None:
        return failed("there are no ACLs: whoever writes events may write the chain, too", to_do=_ACLS)
    return folded(
        (f"chain {chain.name}", judged_rules(rules, ChainTopics.of(chain.name, chain.prefix)))
        for chain in asking.system.chains
    )


def judged_rules(rules: Sequence[Rule], topics: ChainTopics) -> Outcome:
    """Whether nobody who may write events may write what the log makes of them, and whether that has one writer."""
    writers = {name: _may(rules, getattr(topics, name), "WRITE") for name in ("raw", *_OWN)}
    to_do = f"take WRITE from them: `kafka-acls.sh --remove`; `sealstream config acls {topics.raw.rpartition('.')[2]}`"
    for name in _OWN:
        everybody = {"User:*"} & writers[name]
        both = (writers["raw"] & writers[name]) | everybody
        if both:
            return failed(f"{', '.join(sorted(both))} may write {topics.raw} and {getattr(topics, name)}", to_do=to_do)
        for operation in _SPOILING:
            if spoilers := (writers["raw"] | {"User:*"}) & _may(rules, getattr(topics, name), operation):
                who = "everybody" if "User:*" in spoilers else f"{', '.join(sorted(spoilers))}, who write {topics.raw},"
                return failed(
                    f"{who} may {operation} {getattr(topics, name)}",
                    to_do=to_do.replace("WRITE", operation),
                )
        if len(writers[name]) > 1:
            return failed(
                f"{', '.join(sorted(writers[name]))} may write {getattr(topics, name)}: expected one", to_do=to_do
            )
    if writers["chain"] and writers["chain"] == writers["checkpoints"]:
        who = ", ".join(writers["chain"])
        return failed(f"{who} may write the chain and its checkpoints: expected two users", to_do=to_do)
    return passed(
        "; ".join(f"{getattr(topics, name)}: {', '.join(sorted(who)) or 'nobody'}" for name, who in writers.items())
        + " may write"
    )


def _may(rules: Sequence[Rule], topic: str, operation: str) -> set[str]:
    """Who may do it from anywhere: who is denied it from some hosts alone, may."""
    about = [rule for rule in rules if rule.is_about(topic) and rule.operation in (operation, "ALL")]
    denied = {rule.principal for rule in about if not rule.allows and rule.host == "*"}
    return {rule.principal for rule in about if rule.allows} - denied


def _forbidden(asking: Asking) -> Outcome:
    """As an application, or as whoever the settings are of."""
    system = asking.system
    who = system.producer or system.kafka
    as_whom = "with --producer-config" if system.producer else "with the settings' own user"
    found = []
    for chain in system.chains:
        topics = ChainTopics.of(chain.name, chain.prefix)
        takes = {name: would_take(who, getattr(topics, name)) for name in ("raw", *_OWN)}
        found.append((f"chain {chain.name}", _judged_writes(topics, takes, as_whom, given=system.producer is not None)))
    return folded(found)


def _judged_writes(topics: ChainTopics, takes: Mapping[str, bool], as_whom: str, *, given: bool) -> Outcome:
    through = [getattr(topics, name) for name in _OWN if takes[name]]
    refused = [getattr(topics, name) for name in _OWN if not takes[name]]
    if not through and takes["raw"]:
        return passed(f"a record for {', '.join(refused)} was refused ({as_whom})")
    if not through:
        return unknown(
            f"a record for {', '.join(refused)} was refused, and one for {topics.raw}, too: this is no application's "
            f"user ({as_whom})",
            to_do="give an application's Kafka user with --producer-config, and it is tried as that",
        )
    if given or takes["raw"]:
        return failed(f"a record for {', '.join(through)} would have been taken ({as_whom})", to_do=_ACLS)
    return unknown(
        f"this user writes {', '.join(through)}, as a process of the log does, and may not write events",
        to_do="give an application's Kafka user with --producer-config, and it is tried as that",
    )


def _brokers(asking: Asking) -> int:
    return asking.once("brokers", lambda: inspect(asking.system.kafka, [], [], _ANSWER_S)).brokers


def _protocol(kafka: KafkaSettings) -> str:
    return str(kafka.options.get("security.protocol", "PLAINTEXT")).upper()


CHECKS = (
    Check("kafka.tls", "Kafka is reached over TLS, its certificate checked", "a connection as the settings say", _tls),
    Check(
        "kafka.authentication",
        "Kafka lets nobody in without credentials",
        "connections without credentials are tried, with and without TLS",
        _authentication,
    ),
    Check(
        "kafka.authorization",
        "Kafka has an authorizer, and what has no ACL is closed",
        "the ACLs and the broker's configuration are asked for",
        _authorization,
    ),
    Check(
        "kafka.separation",
        "who writes events can't write the chain, nor who writes the chain sign it",
        "the ACLs are asked for, and held against each other",
        _separation,
    ),
    Check(
        "kafka.forbidden",
        "an application's record for the chain is refused",
        "a record is offered to the topics of the chain and its notes, by a request that no broker carries out",
        _forbidden,
    ),
)
