"""The part of `config check` about Kafka: connect, the chains' topics, and which clients' work this user may do.

Only asks. Whether a transactional id may be used nobody can ask without fencing a sequencer, so that stays open.
`judged_topics`, `judged_permissions` and `what_to_do` are pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealstream.cli.anomaly_process import watch_topics
from sealstream.cli.findings import Finding, ok, skipped, warning, wrong
from sealstream.cli.settings import Settings
from sealstream.errors import SealstreamError, Unavailable
from sealstream.kafka import CLIENTS, Permission, permissions
from sealstream.kafka.inspecting import TopicView, inspect
from sealstream.layout import ChainTopics, TopicConfig, sequencer_group
from sealstream.layout.workers import worker_group

__all__ = ["check_kafka", "judged_permissions", "judged_topics", "judged_watch_topics", "what_to_do"]

_TIMEOUT_S = 5.0
_LOCAL = ("localhost", "127.", "[::1]")
_LOCAL_URLS = tuple(f"http://{host}" for host in _LOCAL)


def check_kafka(settings: Settings, clients: Sequence[str]) -> Sequence[Finding]:
    """`clients`: whose work this user must be able to do; none: it need be able to do somebody's."""
    section, chains = settings.kafka, settings.open_chains()
    topics = {chain: ChainTopics.of(chain, section.prefix) for chain in chains}
    groups = (sequencer_group(section.prefix), worker_group(section.prefix))
    watch = watch_topics(settings)
    wanted = [config for chain in chains for config in topics[chain].configs()] + watch
    needed = {each.name for chain in chains for each in _on_topics(chain, section.prefix)}
    wanted += [TopicConfig(name, {}) for name in sorted(needed - {config.name for config in wanted})]
    try:
        view = inspect(settings.kafka_settings(), wanted, groups, _TIMEOUT_S)
    except SealstreamError as error:
        return [wrong("kafka", str(error), what_to_do(error))]
    options = section.driver_options()
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    said = f"{section.bootstrap}: {view.brokers} broker{'s' * (view.brokers != 1)}, {protocol}{_as(options)}"
    if protocol in ("PLAINTEXT", "SASL_PLAINTEXT") and not section.bootstrap.startswith(_LOCAL):
        findings = [warning("kafka", f"{said}: events can be read on the way", "set kafka.security_protocol")]
    else:
        findings = [ok("kafka", said)]
    if section.token_url.startswith("http://") and not section.token_url.startswith(_LOCAL_URLS):
        said = f"{section.token_url}: the client's secret and its tokens can be read on the way"
        findings.append(warning("kafka", said, "name an address in kafka.token_url that begins with https://"))
    if section.replication > view.brokers:
        said = f"kafka.replication is {section.replication}, and there are {view.brokers} brokers"
        findings.append(wrong("kafka", said, "no topic can be made so: lower it, or add brokers"))
    if chains:
        findings += judged_watch_topics([each.name for each in watch], view.topics)
    for chain in chains:
        findings += judged_topics(chain, topics[chain], view.topics)
        findings += judged_permissions(chain, section.prefix, view.topics, view.group_operations, clients)
    return findings


def _as(options: Mapping[str, str]) -> str:
    if "sasl.username" in options:
        return f" as User:{options['sasl.username']}"
    if "sasl.oauthbearer.client.id" in options:
        return f" with a token for {options['sasl.oauthbearer.client.id']}"
    return " with a client's certificate" if "ssl.certificate.location" in options else ""


def judged_topics(chain: str, topics: ChainTopics, views: Mapping[str, TopicView]) -> list[Finding]:
    """Whether the topics are there and as they must be."""
    made = f"`sealstream chain create {chain}` makes a new chain's; lost ones: docs/runbooks/lost-kafka.md"
    return _judged(f"kafka, chain {chain}", topics, views, made, "one partition")


def _judged(
    about: str, topics: Sequence[str], views: Mapping[str, TopicView], made: str, partitions: str
) -> list[Finding]:
    missing = [name for name in topics if views[name].there is False]
    hidden = [name for name in topics if views[name].there is None]
    unread = [name for name in topics if views[name].there and views[name].differences is None]
    differing = [each for name in topics for each in views[name].differences or ()]
    findings = []
    if missing:
        findings.append(wrong(about, f"no topic {', '.join(missing)}", made))
    if differing:
        to_do = "`kafka-configs.sh --alter --entity-type topics --entity-name TOPIC --add-config NAME=VALUE`"
        findings.append(wrong(about, "; ".join(differing), to_do))
    if hidden or unread:
        parts = [f"this user may not see {', '.join(hidden)}"] if hidden else []
        parts += [f"nor the configuration of {', '.join(unread)}"] if unread else []
        findings.append(skipped(about, ", ".join(parts)))
    fine = len(topics) - len({*missing, *hidden, *unread})
    if fine and not missing and not differing:
        findings.append(ok(about, f"{fine} of {len(topics)} topics are there, with {partitions} and the right cleanup"))
    return findings


def judged_watch_topics(topics: Sequence[str], views: Mapping[str, TopicView]) -> list[Finding]:
    """The same of the topics that all chains share. Without them nothing is watched, and everything is sealed."""
    about = "kafka, the watch"
    missing = [name for name in topics if views[name].there is False]
    differing = [each for name in topics for each in views[name].differences or ()]
    findings = []
    if missing:
        to_do = "`sealstream chain create NAME`, for a chain that there is, makes them"
        findings.append(warning(about, f"no topic {', '.join(missing)}: nothing is watched", to_do))
    if differing:
        to_do = "set activity.partitions to what there is; else `kafka-configs.sh --alter --entity-type topics`"
        findings.append(wrong(about, "; ".join(differing), to_do))
    fine = sum(views[name].there is True and views[name].differences is not None for name in topics)
    if fine and not missing and not differing:
        findings.append(ok(about, f"{fine} of {len(topics)} topics are there, with the right cleanup"))
    return findings


def judged_permissions(
    chain: str,
    prefix: str,
    views: Mapping[str, TopicView],
    groups: Mapping[str, frozenset[str]],
    clients: Sequence[str],
) -> list[Finding]:
    """Whose work this user may do on this chain."""
    about, may, lacks = f"kafka, chain {chain}", [], {}
    for client in CLIENTS:
        missing = []
        for needed in permissions(client, chain, prefix):
            if needed.resource in ("transactional-id", "cluster"):
                continue
            view = views.get(needed.name, TopicView(None))
            has = view.operations if needed.resource == "topic" else groups[needed.name]
            missing += [f"{each} on {needed.resource} {needed.name}" for each in needed.operations if each not in has]
        if missing:
            lacks[client] = missing
        else:
            may.append(client)
    to_do = f"`sealstream config acls {chain}` prints the commands that give what is needed"
    if clients:
        findings = [
            wrong(about, f"this user can't be {client}: it lacks {', '.join(lacks[client])}", to_do)
            for client in clients
            if client in lacks
        ]
        fine = [client for client in clients if client in may]
        return findings + ([ok(about, f"this user has the ACLs of {', '.join(fine)}{_OPEN}")] if fine else [])
    if not may:
        return [wrong(about, "this user has the ACLs of no client at all", to_do)]
    rest = f"; not of {', '.join(lacks)}" if lacks else ""
    return [ok(about, f"this user has the ACLs of {', '.join(may)}{rest}{_OPEN}")]


def _on_topics(chain: str, prefix: str) -> list[Permission]:
    """Of all clients; topics that all chains share are among them."""
    needed = [each for client in CLIENTS for each in permissions(client, chain, prefix)]
    return [each for each in needed if each.resource == "topic"]


_OPEN = " (transactional ids can't be asked about)"


def what_to_do(error: SealstreamError) -> str:
    """What to do about it: that of the first words of `_MENDS` that stand in it."""
    said = str(error)
    for words, to_do in _MENDS:
        if all(word in said for word in words):
            return to_do
    if isinstance(error, Unavailable):
        return "check kafka.bootstrap and kafka.security_protocol, and that Kafka runs"
    return ""


_BROKERS = "the broker needs another certificate (its ssl.keystore): nothing in these settings is wrong"
_MENDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("wants a certificate of this client",), "set kafka.certificate_file and kafka.key_file"),
    (
        ("refuses this client's certificate",),
        "name one in kafka.certificate_file that is in time and signed by an authority in the broker's ssl.truststore",
    ),
    (("verify failed", "expired"), _BROKERS),
    (("verify failed", "not yet valid"), f"{_BROKERS}, unless this machine's clock is wrong"),
    (
        ("verify failed", "mismatch"),
        "name the host in kafka.bootstrap as its certificate does; brokers tell their own names on from there "
        "(advertised.listeners)",
    ),
    (("ssl.key.location",), "check kafka.key_file, and kafka.key_password if it has one"),
    (("ssl.certificate.location",), "check kafka.certificate_file: it must hold a certificate (PEM)"),
    (("https.ca.location",), "check kafka.token_ca_file: it must hold certificates (PEM)"),
    (("ssl.ca.location failed",), "check kafka.ca_file: it must hold certificates (PEM)"),
    (("acquire", "token", "invalid_client"), "check kafka.client_id and kafka.client_secret"),
    (("acquire", "token", "invalid_scope"), "check kafka.token_scope"),
    (("acquire", "token", "certificate"), "check kafka.token_ca_file, and that kafka.token_url names its host"),
    (
        (
            "acquire",
            "token",
        ),
        "check kafka.token_url, kafka.client_id, kafka.client_secret and kafka.token_scope",
    ),
    (
        ("invalid_token",),
        "the broker's log says why it refuses the token: check kafka.token_scope, and that the token's issuer and "
        "audience are those of the broker's sasl.oauthbearer.expected.issuer and .audience",
    ),
    (("mechanism handshake failed",), "check kafka.sasl_mechanism"),
    (("SSL",), "check kafka.security_protocol and kafka.ca_file, and that bootstrap names a listener with TLS"),
    (("certificate",), "check kafka.security_protocol and kafka.ca_file, and that bootstrap names a listener with TLS"),
    (("uthentication",), "check kafka.username, kafka.password and kafka.sasl_mechanism"),
    (("SASL",), "check kafka.username, kafka.password and kafka.sasl_mechanism"),
)
