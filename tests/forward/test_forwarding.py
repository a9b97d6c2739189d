"""The forward process and its commands: targets beside each other, killed and stopped, asked and worked off."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from tests.forward.conftest import SECRET, Certificates, make_alert, unique
from tests.forward.receivers import Collector, HttpReceiver, MailReceiver, Reply, SyslogReceiver
from tests.long_runs import long_run
from tests.pipeline import Said, say, wait_until
from tests.postgres.conftest import SealedChain

from sealstream.cli.forward_process import create_forward_topics, sources_of
from sealstream.cli.pipeline import process_specs
from sealstream.cli.settings import load_settings, write_settings
from sealstream.devstack.ports import free_port
from sealstream.errors import Misconfigured, Unavailable
from sealstream.forward import Forwarding, Troubles
from sealstream.kafka import KafkaSettings, StandingProducer, create_topics, produce
from sealstream.layout import Figures, TopicConfig, figures
from sealstream.layout.activity import ActivityTopics
from sealstream.layout.alerts import Alert, encode_alert
from sealstream.sealing import new_signing_key, signer

pytestmark = long_run

LOCAL = {"allow_networks": ["127.0.0.0/8"]}


class Site(NamedTuple):
    """Settings of one log, and what raises alerts there."""

    config: Path
    kafka: KafkaSettings
    producer: StandingProducer

    def targets(self, **targets: dict[str, Any]) -> None:
        for name, members in targets.items():
            write_settings(self.config, {"forward": {"targets": {name.replace("_", "-"): {**LOCAL, **members}}}})

    def forwarding(self, **more: Any) -> Forwarding:
        settings = load_settings(self.config)
        return Forwarding(self.kafka, settings.forward_targets(), sources_of(settings), **more)

    def raise_alerts(self, *alerts: Alert) -> None:
        topic = sources_of(load_settings(self.config)).alerts
        for alert in alerts:
            self.producer.send(topic, encode_alert(alert), key=alert.subject.encode())

    def command(self, *arguments: str) -> Said:
        return say(self.config, *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sealstream.cli.entry", "--config", str(self.config), "run", "forward"]
        with (self.config.parent / "forward.log").open("ab") as log:
            return subprocess.Popen([*command, *arguments], stdout=log, stderr=log)

    def log(self) -> str:
        return (self.config.parent / "forward.log").read_text()


@pytest.fixture(autouse=True)
def _log_apart() -> Iterator[None]:
    """What threads log must not end up in what a command says."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def producer(kafka: KafkaSettings) -> Iterator[StandingProducer]:
    with StandingProducer(kafka) as standing:
        yield standing


@pytest.fixture
def site(kafka: KafkaSettings, producer: StandingProducer, tmp_path: Path) -> Site:
    prefix, config = unique("fs"), tmp_path / "sealstream.toml"
    vkey = signer(new_signing_key("audit.example.com/acme/main")).vkey
    write_settings(
        config,
        {
            "log": "audit.example.com/acme",
            "kafka": {"bootstrap": kafka.bootstrap, "prefix": prefix},
            "archive": {"bucket": ""},
            "chains": {"main": {"vkey": vkey}},
        },
    )
    alerts = TopicConfig(ActivityTopics.of(prefix).alerts, {}, 2)
    create_topics(kafka, [alerts, TopicConfig(f"{prefix}.chain.main", {})])
    create_forward_topics(load_settings(config))
    return Site(config, kafka, producer)


def webhook(receiver: HttpReceiver, **more: Any) -> dict[str, Any]:
    return {"kind": "webhook", "url": receiver.url, "secret": SECRET, "timeout_seconds": 5.0, **more}


def got(receiver: HttpReceiver) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


def ids(*alerts: Alert) -> list[str]:
    return [alert.id for alert in alerts]


# The process


def test_a_slow_a_dead_and_a_broken_target_hold_up_nobody(site: Site, receiver: HttpReceiver, tmp_path: Path) -> None:
    slow = HttpReceiver().start()
    slow.answer = lambda request: Reply(after_s=2.0)
    dead = f"http://127.0.0.1:{free_port(set())}"
    site.targets(
        quick=webhook(receiver),
        slow=webhook(slow),
        dead={"kind": "slack", "url": dead},
        broken={"kind": "syslog", "url": "syslog+tls://localhost:1", "ca_file": str(tmp_path / "nowhere.pem")},
    )
    tally, troubles = Figures(time.time), Troubles()
    process = site.forwarding(tally=tally, troubles=troubles)
    try:
        wait_until(lambda: tally.value(figures.FORWARDED, "dead") is not None, 30)
        wait_until(lambda: tally.value(figures.FORWARDED, "slow") is not None, 30)
        wait_until(lambda: tally.value(figures.FORWARDED, "quick") is not None, 30)
        alerts = [make_alert(n, subject="one") for n in range(30)]
        site.raise_alerts(*alerts)
        wait_until(lambda: got(receiver) == ids(*alerts), 30)
        assert len(slow.requests) < 30
        wait_until(lambda: bool(troubles.of("dead")) and bool(troubles.of("broken")), 30)
        assert "nowhere.pem" in troubles.of("broken")
        assert troubles.of("quick") == ""
        assert process.step() is False
    finally:
        begun = time.monotonic()
        process.close()
        assert time.monotonic() - begun < 8
        slow.stop()


def test_a_receiver_that_never_answers_does_not_hold_up_a_stop(site: Site, receiver: HttpReceiver) -> None:
    receiver.answer = lambda request: Reply(after_s=60)
    site.targets(hung=webhook(receiver, timeout_seconds=60.0, start="earliest"))
    site.raise_alerts(make_alert(1))
    process = site.forwarding()
    wait_until(lambda: bool(receiver.requests), 30)
    begun = time.monotonic()
    process.close()
    assert time.monotonic() - begun < 8


def test_kafka_that_is_away_for_a_moment_costs_repeats_and_no_message(
    site: Site, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.targets(soc=webhook(receiver, start="earliest"))
    alerts = [make_alert(n, subject="one") for n in range(10)]
    site.raise_alerts(*alerts)
    refusals, send = iter(range(4)), StandingProducer.send

    def sometimes(self: StandingProducer, topic: str, *args: Any, **more: Any) -> None:
        if receiver.requests and topic.endswith("positions") and next(refusals, None) is not None:
            raise Unavailable("away")
        send(self, topic, *args, **more)

    monkeypatch.setattr(StandingProducer, "send", sometimes)
    process = site.forwarding()
    try:
        wait_until(lambda: next(refusals, None) is None and set(got(receiver)) == set(ids(*alerts)), 60)
        wait_until(lambda: _positions(site) == 1 and "0" in site.command("forward", "status").out, 30)
    finally:
        process.close()
    assert list(dict.fromkeys(got(receiver))) == ids(*alerts)


def test_the_first_start_says_which_topics_are_missing(site: Site) -> None:
    site.targets(any={"kind": "pagerduty", "secret": "x" * 32})
    write_settings(site.config, {"kafka": {"prefix": "nowhere"}})
    with pytest.raises(Misconfigured, match=r"nowhere\.forward-.* does not exist.*chain create"):
        site.forwarding()


@long_run
def test_killed_again_and_again_everything_arrives_in_order(site: Site, receiver: HttpReceiver) -> None:
    receiver.answer = lambda request: Reply(after_s=0.05)
    site.targets(soc=webhook(receiver, start="earliest"))
    alerts = [make_alert(n, subject=f"user-{n % 3}") for n in range(240)]
    for round_ in range(8):
        site.raise_alerts(*alerts[round_ * 30 : (round_ + 1) * 30])
        before = len(receiver.requests)
        process = site.start()
        wait_until(lambda before=before: len(receiver.requests) > before + 7, 60, site.log)  # type: ignore[misc]
        process.kill()
        process.wait()
    process = site.start()
    wait_until(lambda: set(got(receiver)) == set(ids(*alerts)), 120, site.log)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0, site.log()
    subjects = {alert.id: alert.subject for alert in alerts}
    first = list(dict.fromkeys(got(receiver)))
    for subject in set(subjects.values()):
        assert [each for each in first if subjects[each] == subject] == [
            alert.id for alert in alerts if alert.subject == subject
        ]
    again = len(receiver.requests)
    process = site.start()
    time.sleep(5)
    process.kill()
    assert len(receiver.requests) == again


def test_run_forward_sends_is_asked_and_stops_in_order(site: Site, receiver: HttpReceiver) -> None:
    dead = f"http://127.0.0.1:{free_port(set())}"
    site.targets(soc=webhook(receiver), pager={"kind": "slack", "url": dead})
    write_settings(site.config, {"metrics": {"ask_every_seconds": 1.0}})
    port = free_port(set())
    process = site.start("--metrics-port", str(port))
    try:
        wait_until(lambda: "metrics are served" in site.log(), 60, site.log)
        wait_until(lambda: "pager" in site.command("forward", "status").out and _positions(site) == 2, 60, site.log)
        site.raise_alerts(make_alert(1), make_alert(2))
        wait_until(lambda: sorted(got(receiver)) == sorted(ids(make_alert(1), make_alert(2))), 60, site.log)
        wait_until(lambda: 'sealstream_forwarded_total{process="forward",target="soc"} 2.0' in _ask(port), 30)
        wait_until(lambda: "target pager does not answer" in _ask(port, "/readyz"), 30, lambda: _ask(port, "/readyz"))
        assert 'sealstream_store_reachable{process="forward",store="target soc"} 1.0' in _ask(port)
        assert re.search(r'sealstream_forward_failures_total\{.*target="pager"\} [1-9]', _ask(port))
        told = json.loads(site.command("forward", "status", "--json").out)
        assert {each["target"]: each["waiting"] for each in told} == {"pager": 2, "soc": 0}
        write_settings(site.config, {"metrics": {"targets": {"forward": f"http://127.0.0.1:{port}"}}})
        status = json.loads(site.command("status", "--json").out)
        (found,) = (each for each in status["processes"] if each["name"] == "forward")
        assert any("target pager" in each for each in found["because"])
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0, site.log()


def _positions(site: Site) -> int:
    return sum(each["waiting"] is not None for each in json.loads(site.command("forward", "status", "--json").out))


def _ask(port: int, path: str = "/metrics") -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read(), "utf-8")
    except urllib.error.HTTPError as error:
        return str(error.read(), "utf-8")


def test_the_local_stack_has_the_process_where_there_are_targets(tmp_path: Path) -> None:
    names = [spec.name for spec in process_specs(tmp_path / "s.toml", ["main"], forward=True)]
    *before, last = [spec.name for spec in process_specs(tmp_path / "s.toml", ["main"])]
    assert names == [*before, "forward", last]


# Commands


def test_letters_are_listed_sent_again_and_dismissed(site: Site, receiver: HttpReceiver) -> None:
    site.targets(soc=webhook(receiver, start="earliest"))
    receiver.answer = lambda request: Reply(422, b"not \x1b[31mthat")
    alerts = [make_alert(n) for n in range(4)]
    site.raise_alerts(*alerts)
    process = site.forwarding()
    wait_until(lambda: len(json.loads(site.command("forward", "list", "--json").out)) == 4, 60)
    process.close()
    listed = site.command("forward", "list").out
    assert all(alert.id in listed for alert in alerts)
    assert "422: not \\x1b[31mthat" in listed
    letters = json.loads(site.command("forward", "list", "--json").out)
    numbers = {each["id"]: str(each["letter"]) for each in letters}
    failed = site.command("forward", "retry", numbers[alerts[0].id])
    assert (failed.code, "0 letters worked off, 1 still open" in failed.out) == (1, True)
    receiver.answer = lambda request: Reply()
    worked = site.command("forward", "retry", numbers[alerts[0].id], numbers[alerts[1].id])
    assert (worked.code, "2 letters worked off, 0 still open" in worked.out) == (0, True), worked
    assert got(receiver)[-2:] == ids(alerts[0], alerts[1])
    assert site.command("forward", "retry", numbers[alerts[0].id]).code == 2
    assert site.command("forward", "dismiss", numbers[alerts[2].id], "--reason", "a drill").code == 0
    assert [each["id"] for each in json.loads(site.command("forward", "list", "--json").out)] == [alerts[3].id]
    assert site.command("forward", "retry", "--all", "--target", "other").out.startswith("0 letters")
    assert site.command("forward", "retry").code == 2
    assert site.command("forward", "retry", "--all").code == 0
    assert site.command("forward", "list").out == "no letters: every message was taken, or worked off\n"
    status = site.command("status", "--json")
    assert "refused" not in status.out


def test_status_tells_of_letters(site: Site, receiver: HttpReceiver) -> None:
    site.targets(soc=webhook(receiver, start="earliest"))
    receiver.answer = lambda request: Reply(422)
    site.raise_alerts(make_alert(1), make_alert(2))
    process = site.forwarding()
    wait_until(lambda: len(json.loads(site.command("forward", "list", "--json").out)) == 2, 60)
    process.close()
    told = json.loads(site.command("status", "--json").out)
    (found,) = (each for each in told["findings"] if "soc" in each["words"])
    assert found["words"] == "target soc refused 2 messages: `sealstream forward list` says why"
    assert found["page"] == "docs/forwarding.md"


def test_each_kind_is_tried_and_its_answer_shown(
    site: Site,
    receiver: HttpReceiver,
    collector: Collector,
    syslog_receiver: SyslogReceiver,
    mail_receiver: MailReceiver,
    certificates: Certificates,
) -> None:
    tls = {"ca_file": str(certificates.ca_file)}
    site.targets(
        hook=webhook(receiver),
        chat={"kind": "slack", "url": f"{receiver.url}/services/T/B/x"},
        pager={"kind": "pagerduty", "url": f"{receiver.url}/v2/enqueue", "secret": "R" * 32},
        splunk={"kind": "splunk-hec", "url": collector.url, "secret": Collector.TOKEN},
        siem={"kind": "syslog", "url": syslog_receiver.url, **tls},
        traces={"kind": "otlp", "url": f"{receiver.url}/v1/logs"},
        mail={
            "kind": "email",
            "url": mail_receiver.url,
            "sender": "sealstream@example.com",
            "recipients": ["soc@example.com"],
            "username": MailReceiver.USER,
            "secret": MailReceiver.PASSWORD,
            **tls,
        },
    )
    receiver.answer = lambda request: Reply(202, b'{"status":"success"}')
    checked = site.command("config", "check", "--json")
    found = {each["about"]: each for each in json.loads(checked.out) if each["about"].startswith("target ")}
    states = {about: each["state"] for about, each in found.items()}
    assert states == {f"target {each}": "ok" for each in ("hook", "chat", "pager", "splunk", "siem", "traces", "mail")}
    told = [request for request in receiver.requests if request.path != "/v1/logs"]
    assert (told, collector.indexed, syslog_receiver.messages, mail_receiver.mails) == ([], [], [], [])
    for name in ("hook", "chat", "pager", "splunk", "siem", "traces", "mail"):
        said = site.command("forward", "test", name)
        assert (said.code, said.out.startswith(f"{name} (")) == (0, True), said
        assert "taken in" in said.out
    pager = [request.json["event_action"] for request in receiver.requests if request.path == "/v2/enqueue"]
    assert pager == ["trigger", "resolve"]
    assert (len(collector.indexed), len(syslog_receiver.messages), len(mail_receiver.mails)) == (1, 1, 1)
    receiver.answer = lambda request: Reply(404, b"no_service")
    said = site.command("forward", "test", "chat")
    assert (said.code, "404: no_service" in said.out) == (1, True)
    said = site.command("forward", "test", "nobody")
    assert (said.code, "known: chat, hook" in said.err) == (2, True)


def test_check_says_what_is_wrong_with_a_target(site: Site, collector: Collector, certificates: Certificates) -> None:
    port = free_port(set())
    site.targets(
        token={"kind": "splunk-hec", "url": collector.url, "secret": "wrong"},
        dead={"kind": "otlp", "url": f"http://localhost:{port}"},
        strange={"kind": "syslog", "url": f"syslog+tls://localhost:{port}", "ca_file": "nowhere.pem"},
    )
    write_settings(site.config, {"forward": {"targets": {"inside": {"kind": "slack", "url": "https://localhost:1/x"}}}})
    told = json.loads(site.command("config", "check", "--json").out)
    found = {each["about"]: each["said"] for each in told if each["state"] == "wrong"}
    assert "Invalid token" in found["target token"]
    assert str(port) in found["target dead"]
    assert "nowhere.pem" in found["target strange"]
    assert "allow_networks" in found["target inside"]


# Settings

HOOK = f'kind = "webhook"\nurl = "https://x.example"\nsecret = "{SECRET}"\n'
FAULTS = {
    'kind = "fax"': "kind",
    'kind = "webhook"\nsecret = "x"': "url: is missing: kind webhook needs it",
    'kind = "webhook"\nurl = "https://x.example"': "secret: is missing: kind webhook needs it",
    'kind = "webhook"\nurl = "https://x.example"\nsecret = "plain"': "secret: expected whsec_ and",
    HOOK + 'index = "a"': "index: has no effect for kind webhook: it is for splunk-hec",
    HOOK + 'headers = { "a b" = "c" }': "headers: 'a b' is no name of a header",
    HOOK + 'headers = { "a" = "c\\nd" }': "headers: a holds more than printable ASCII",
    HOOK + 'allow_networks = ["10.0.0.1/8"]': "allow_networks: '10.0.0.1/8' is no network",
    HOOK + 'certificate_file = "c.pem"': "key_file: is missing",
    HOOK + 'what = "entries"\ndetectors = ["x"]': "detectors: has no effect for entries",
    HOOK + "timeout_seconds = 0": "timeout_seconds: input should be greater than 0",
    HOOK + "tmeout_seconds = 1": "tmeout_seconds: there is no such setting; did you mean",
    'kind = "slack"\nurl = "https://x.example"\nwhat = "entries"': "what: entries can't go to slack",
    'kind = "slack"\nurl = "http://x.example/secret"': "url: sends what it holds in the clear",
    'kind = "slack"\nurl = "ftp://x.example/secret"': "url: is no address for kind slack: expected https:// or http://",
    'kind = "slack"\nurl = "https://user:pass@x.example/secret"': "url: holds a user or a password",
    'kind = "slack"\nurl = "https://bücher.example/secret"': "url: holds more than printable ASCII",
    'kind = "slack"\nurl = "https://x.example:99999/secret"': "url: is no address",
    'kind = "syslog"\nurl = "https://x.example"': "url: is no address for kind syslog: expected syslog+tls://host",
    'kind = "syslog"\nurl = "syslog+tls://x.example/path"': "url: has a path",
    'kind = "email"\nurl = "smtps://x.example"\nsender = "a@b"': "recipients: is missing: kind email needs it",
    'kind = "email"\nurl = "smtps://x.example"\nsender = "a b"\nrecipients = ["a@b"]': "sender: 'a b' is no address",
    'kind = "email"\nurl = "smtps://x.example"\nsender = "a@b"\nrecipients = ["a@b"]\nusername = "u"': "secret: is",
}


@pytest.mark.parametrize("text", FAULTS)
def test_faults_name_the_setting_its_line_and_never_a_secret(text: str, tmp_path: Path) -> None:
    config = tmp_path / "sealstream.toml"
    config.write_text(f"[forward.targets.soc]\n{text}\n")
    with pytest.raises(Misconfigured) as refusal:
        load_settings(config)
    assert FAULTS[text] in str(refusal.value)
    assert re.search(r"sealstream\.toml:\d+: forward\.targets\.soc", str(refusal.value))
    assert SECRET not in str(refusal.value)
    assert "x.example/secret" not in str(refusal.value)


def test_secrets_come_from_files_and_variables_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "sealstream.toml"
    (tmp_path / "hook.secret").write_text(SECRET + "\n")
    (tmp_path / "bearer").write_text("Bearer hidden-1\n")
    config.write_text(
        '[forward]\nlink = "https://a.example/{id}"\n[forward.targets.my-hook]\nkind = "webhook"\n'
        'url = "https://x.example/hidden-2"\nsecret_file = "hook.secret"\nca_file = "ca.pem"\n'
        '[forward.targets.my-hook.headers]\nAuthorization_file = "bearer"\n'
    )
    monkeypatch.setenv("SEALSTREAM_FORWARD__TARGETS__MY_HOOK__MINIMUM_SEVERITY", "high")
    (target,) = load_settings(config).forward_targets()
    assert (target.secret, target.headers, target.minimum_severity) == (
        SECRET,
        {"Authorization": "Bearer hidden-1"},
        "high",
    )
    assert (target.name, target.ca_file, target.link) == (
        "my-hook",
        str(tmp_path / "ca.pem"),
        "https://a.example/{id}",
    )
    shown = say(config, "config", "show", "forward").out
    assert "my-hook" in shown
    assert not any(each in shown for each in (SECRET, "hidden-1", "hidden-2"))


def test_entries_reach_a_collector_by_way_of_the_process(site: Site, collector: Collector) -> None:
    chain = SealedChain("main").add_many(700)
    produce(site.kafka, sources_of(load_settings(site.config)).chains["main"], chain.values)
    site.targets(
        splunk={
            "kind": "splunk-hec",
            "url": collector.url,
            "secret": Collector.TOKEN,
            "what": "entries",
            "start": "earliest",
        }
    )
    process = site.forwarding()
    try:
        wait_until(lambda: len(collector.indexed) >= 701, 60)
    finally:
        process.close()
    assert [event["event"] for event in collector.indexed] == [json.loads(value) for value in chain.values]
