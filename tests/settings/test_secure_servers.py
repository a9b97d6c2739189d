"""TLS, SASL and ACLs as settings, tried on real servers that ask for them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest
from tests.anomaly.bench import logins, read_all
from tests.forward.conftest import SECRET, make_alert
from tests.forward.receivers import HttpReceiver
from tests.importers.conftest import STRATUS
from tests.long_runs import long_run
from tests.pipeline import say, sql, wait_until
from tests.settings.secured_servers import PASSWORD
from tests.settings.world import CHAIN, World, wrong

from sealstream.anomaly import ActivityRollUp
from sealstream.archive import ArchiveSink
from sealstream.checkpointing import Checkpointing, load_signer
from sealstream.cli.forward_process import sources_of
from sealstream.cli.settings import load_settings, write_settings
from sealstream.cli.stores import archive_settings
from sealstream.cli.watch_process import make_log_watch
from sealstream.client import AuditClient, Outbox
from sealstream.collect.delivering import Deliveries
from sealstream.devstack import ProcessSpec
from sealstream.devstack.running import spawn
from sealstream.errors import Misconfigured, Unavailable
from sealstream.events import canonical_event
from sealstream.forward import Forwarding
from sealstream.kafka import (
    AcknowledgedProducer,
    KafkaSettings,
    Outgoing,
    Place,
    committed_offsets,
    partition_counts,
    produce,
    read_until_end,
    topic_ids,
    trim,
)
from sealstream.layout import ChainTopics, Figures, figures
from sealstream.layout.activity import ActivityTopics, encode_activity
from sealstream.layout.pipeline_watch import watch_topic
from sealstream.layout.workers import worker_group
from sealstream.lookout import Raising
from sealstream.postgres import PostgresSink
from sealstream.sequencer import SequencerGroup

pytestmark = long_run


def step_until(process: Any, done: Callable[[], bool], within_s: float = 100) -> None:
    """Steps the process until that holds; looking costs connections, so it is looked twice a second."""
    begun = looked = time.monotonic()
    with closing(process):
        while time.monotonic() - begun < within_s:
            process.step()
            if time.monotonic() - looked > 0.5:
                if done():
                    return
                looked = time.monotonic()
    raise AssertionError(f"{process} did not get there in {within_s} s")


async def collected(kafka: KafkaSettings, topic: str) -> None:
    """The collector's connection, with a producer's ACLs: it looks, writes and is acknowledged."""
    deliveries = Deliveries(kafka, queue_bytes=1_000_000, timeout_s=20)
    deliveries.check([topic])
    await deliveries.send(topic, [canonical_event(EVENT)])
    deliveries.close()


EVENT = {
    "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
    "timestamp": "2026-11-24T09:30:00Z",
    "actor_id": "a",
    "actor_type": "user",
    "action": "read",
    "resource_type": "record",
    "resource_id": "1",
    "result": "success",
}


@pytest.mark.timeout(480)  # servers start in it, and seven clients work one after another
def test_each_process_works_with_the_acls_that_it_needs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    events = 45
    kafka = world.kafka("producer")
    with AuditClient(CHAIN, kafka.bootstrap, prefix=world.prefix, kafka_options=kafka.options) as client:
        for n in range(events):
            client.emit("read", resource_type="record", resource_id=n, actor_id="a", actor_type="user")
        assert client.flush(20) == 0
    asyncio.run(collected(kafka, ChainTopics.of(CHAIN, world.prefix).raw))
    dsn = world.servers.admin_dsn("sealstream")
    (world.folder / "outbox-dsn").write_text(f"{dsn}\n")
    monkeypatch.setenv("SEALSTREAM_OUTBOX_DSN_FILE", str(world.folder / "outbox-dsn"))
    relaying = world.config("outbox-relay")
    assert say(relaying, "outbox", "init").code == 0
    with psycopg.connect(dsn) as connection:
        Outbox().emit(connection, "write", resource_type="r", resource_id="1", actor_id="a", actor_type="user")
    assert say(relaying, "outbox", "relay", "--once").out == "sent 1 events\n"
    topics = ChainTopics.of(CHAIN, world.prefix)
    produce(kafka, topics.raw, [b"no event"])
    verifier = world.kafka("verifier")

    def count(topic: str) -> int:
        return sum(len(batch) for batch in read_until_end(verifier, topic))

    settings = world.settings("sequencer")
    chain = settings.chain(CHAIN)
    step_until(SequencerGroup(settings.kafka_settings(), {CHAIN: chain}), lambda: count(topics.chain) >= events + 2)
    settings = world.settings("checkpointing")
    signer = load_signer(world.folder / settings.chains[CHAIN].key_file)
    step_until(Checkpointing(settings.kafka_settings(), chain, signer), lambda: count(topics.segments) >= 2)
    settings = world.settings("postgres-sink")
    stored = "SELECT count(*) FROM audit_log"
    step_until(
        PostgresSink(settings.kafka_settings(), chain, settings.postgres.sink_dsn),
        lambda: sql(settings.postgres.reader_dsn, stored)[0][0] >= events,
    )
    importing = say(world.config("import"), "import", "cloudtrail", str(STRATUS), "--chain", CHAIN, "--json")
    assert (importing.code, json.loads(importing.out)["sent"]) == (0, 31), importing.err
    settings = world.settings("archive-sink")
    step_until(
        ArchiveSink(settings.kafka_settings(), chain, archive_settings(settings)), lambda: count(topics.control) >= 1
    )
    settings, tally = world.settings("activity"), Figures()
    rolled_up = ActivityRollUp(settings.kafka_settings(), [chain], tally=tally)
    step_until(rolled_up, lambda: (tally.value(figures.LAST_SEQ, CHAIN) or 0) >= events)
    settings, sealed = world.settings("sequencer"), count(topics.chain)
    step_until(SequencerGroup(settings.kafka_settings(), {CHAIN: chain}), lambda: count(topics.chain) > sealed + 1)
    assert count(topics.deadletter) == 1
    for topic in (topics.raw, topics.control, topics.chain):
        trim(world.kafka("archive-sink"), topic, 0)  # deletes nothing, and needs the right to
    monkeypatch.setenv("XDG_STATE_HOME", str(world.folder / "state"))
    shown = json.loads(say(world.config("verifier"), "status", "--json", "--timeout", "30").out)
    assert shown["chains"][0]["rolled_up"]["size"] >= events
    report = say(world.config("verifier"), "verify", "kafka")
    assert report.code == 0, report.out + report.err
    assert "not recorded" not in report.out
    with HttpReceiver() as receiver:
        hook = {"kind": "webhook", "url": receiver.url, "secret": SECRET, "allow_networks": ["127.0.0.0/8"]}
        everything = {"start": "earliest", "what": "entries"}
        path = world.config("forward", forward={"targets": {"entries": hook | everything, "alerts": hook}})
        settings = load_settings(path)
        forwarding = Forwarding(settings.kafka_settings(), settings.forward_targets(), sources_of(settings))
        step_until(forwarding, lambda: len(receiver.requests) >= events)
        assert say(path, "forward", "list").code == 0
        assert json.loads(say(path, "forward", "status", "--json").out)[0]["waiting"] == 0
    reader = world.config("reader")
    for command in (("search", "action:read", "--json"), ("tail", "-n", "3", "--json")):
        said = say(reader, *command)
        assert (said.code, '"action"' in said.out) == (0, True), said.err


@pytest.mark.timeout(240)
def test_the_watch_works_over_tls_with_the_acls_that_it_needs(world: World) -> None:
    activity = ActivityTopics.of(world.prefix)
    records = [(activity.activity, encode_activity(record), record.actor_id.encode()) for record in logins("eve", 12)]
    admin = KafkaSettings(world.servers.kafka["plain"])
    with closing(AcknowledgedProducer(admin)) as producer:
        producer.send([Outgoing(*record) for record in records])
    command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(world.config("anomaly")), "run", "anomaly"]
    process = spawn(ProcessSpec(name="anomaly", argv=command), world.folder / "anomaly.log")
    try:
        control = ChainTopics.of(CHAIN, world.prefix).control
        group = worker_group(world.prefix)
        counts = partition_counts(admin, [activity.activity])
        places = [Place(topic, n) for topic, count in counts.items() for n in range(count)]

        def raised_and_committed() -> bool:
            said = any(b"alert.raised" in (record.value or b"") for record in read_all(admin, control))
            return said and any(committed_offsets(admin, group, places).values())

        wait_until(raised_and_committed, 120, (world.folder / "anomaly.log").read_text)
        assert len(read_all(admin, activity.alerts)) == 1
    finally:
        process.terminate()
        assert process.wait(15) == 0


@pytest.mark.timeout(240)
def test_who_watches_the_pipeline_needs_no_more_than_its_acls(world: World) -> None:
    settings = world.settings("watch")
    watch = make_log_watch(settings, [CHAIN], Figures())
    admin, topic = KafkaSettings(world.servers.kafka["plain"]), watch_topic(world.prefix).name
    step_until(watch, lambda: bool(read_all(admin, topic)))
    raising = Raising(world.prefix, AcknowledgedProducer(settings.kafka_settings()), lambda _chain, _ids: set())
    assert raising.raise_all(CHAIN, [make_alert(chain=CHAIN)]).raised == 1
    said = read_all(admin, ChainTopics.of(CHAIN, world.prefix).control)
    assert any(b"alert.raised" in (record.value or b"") for record in said)


def test_an_applications_user_may_write_events_and_nothing_else(world: World) -> None:
    kafka, topics = world.kafka("producer"), ChainTopics.of(CHAIN, world.prefix)
    for topic in (topics.chain, topics.control, topics.segments):
        with pytest.raises(Misconfigured, match="authorization failed"):
            produce(kafka, topic, [b"forged"], timeout_s=10)
    for topic in (topics.raw, topics.chain):
        with pytest.raises(Misconfigured, match="authorization failed"):
            list(read_until_end(kafka, topic, 0))


def test_check_says_that_all_is_right_and_whose_work_a_user_may_do(world: World) -> None:
    said = say(world.config("sequencer"), "config", "check", "--for", "sequencer")
    assert said.code == 0, said.out
    assert "1 broker, SASL_SSL as User:sequencer" in said.out
    assert "7 of 7 topics are there" in said.out
    assert "this user has the ACLs of sequencer" in said.out
    for role in ("admin", "sink", "reader", "keeper"):
        assert f"ok        postgres {role}: PostgreSQL" in said.out
    assert "TLSv1.3, certificate and name checked" in said.out
    assert "Object Lock and versions are on, TLS" in said.out
    assert "default retention is COMPLIANCE, 1 day; the chains want 1" in said.out
    said = say(world.config("sequencer"), "config", "check", "--for", "checkpointing")
    assert said.code == 1
    assert f"this user can't be checkpointing: it lacks WRITE on topic {world.prefix}.checkpoints.main" in said.out
    assert "to do: `sealstream config acls main`" in said.out
    said = say(world.config("producer"), "config", "check", "--for", "producer")
    assert said.code == 0, said.out
    assert f"this user may not see {world.prefix}.control.main" in said.out


def test_check_says_what_is_wrong_with_certificates_and_what_to_do(world: World) -> None:
    servers, other = world.servers, world.servers.wrong_ca_file
    dsns = {f"{role}_dsn": "" for role in ("admin", "keeper")}
    dsns["sink_dsn"] = servers.dsn("sealstream_sink", PASSWORD, "sealstream", other)
    dsns["reader_dsn"] = servers.dsn("sealstream_reader", PASSWORD, "sealstream", servers.ca_file, "disable")
    config = world.config("sequencer", postgres=dsns, archive=servers.archive_section("secured", ca_file=str(other)))
    write_settings(config, {"kafka": {"ca_file": str(other)}})
    found = wrong(say(config, "config", "check", "--json"))
    assert "certificate verify failed" in found["kafka"]
    assert "check kafka.security_protocol and kafka.ca_file" in found["kafka"]
    assert "the server's certificate is refused: unable to get local issuer certificate" in found["postgres sink"]
    assert "no encryption" in found["postgres reader"]
    assert "add ?sslmode=verify-full" in found["postgres reader"]
    assert "certificate verify failed" in found["archive"]
    assert "archive.ca_file" in found["archive"]
    with pytest.raises(Misconfigured, match="the server's certificate is refused"):
        PostgresSink(world.kafka("postgres-sink"), load_settings(config).chain(CHAIN), dsns["sink_dsn"])
    with pytest.raises(Unavailable, match="certificate verify failed"):
        topic_ids(load_settings(config).kafka_settings(), ["x"])


def test_check_says_what_is_wrong_with_passwords_and_names(world: World) -> None:
    servers = world.servers
    dsns = {f"{role}_dsn": "" for role in ("admin", "keeper")}
    dsns["sink_dsn"] = servers.dsn("sealstream_sink", "no", "sealstream", servers.ca_file)
    dsns["reader_dsn"] = servers.admin_dsn("sealstream")
    config = world.config("sequencer", postgres=dsns, archive=servers.archive_section("secured", secret_key="no"))
    write_settings(config, {"kafka": servers.kafka_section("sequencer", password="no")})
    write_settings(config, {"chains": {CHAIN: {"key_file": "keys/nowhere.key"}}})
    found = wrong(say(config, "config", "check", "--json"))
    assert "uthentication failed" in found["kafka"]
    assert "check kafka.username, kafka.password" in found["kafka"]
    assert "password authentication failed" in found["postgres sink"]
    assert "postgres is a superuser: it could change and delete what is stored" in found["postgres reader"]
    assert "the access key is refused" in found["archive"]
    assert "nowhere.key does not exist" in found["chain main"]
