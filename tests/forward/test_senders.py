"""Each sender against a real server: what arrives, what an answer is taken for, and what is never done."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default as email_policy
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from standardwebhooks import Webhook
from tests.forward.conftest import LOOPBACK, SECRET, Certificates, make_alert
from tests.forward.receivers import Collector, HttpReceiver, MailReceiver, Reply, SyslogReceiver, parse_syslog
from tests.pipeline import wait_until
from tests.postgres.conftest import SealedChain

from sealstream.devstack.ports import free_port
from sealstream.errors import Misconfigured, SealstreamError, Unavailable
from sealstream.forward import Outcome, Sender, Target, sender_of
from sealstream.forward.messages import Message, alert_message, entry_message
from sealstream.forward.senders.splunk import SplunkSender
from sealstream.layout.alerts import encode_alert

LOCAL = Target("t", "webhook", "", secret=SECRET, allow_networks=LOOPBACK, timeout_s=3)


def pause(seconds: float) -> bool:
    time.sleep(min(seconds, 0.02))
    return False


def message_of(n: int = 1, **changed: Any) -> Message:
    return alert_message(encode_alert(make_alert(n, **changed)))


def sent(sender: Sender, *messages: Message) -> Outcome:
    return sender.send([sender.prepare(message) for message in messages])


@pytest.fixture
def sender() -> Iterator[Callable[..., Sender]]:
    """`sender(kind, url, ...)`, closed at the end."""
    made: list[Sender] = []

    def make(kind: Any, url: str, **more: Any) -> Sender:
        made.append(sender_of(LOCAL._replace(kind=kind, url=url, **more), pause))
        return made[-1]

    yield make
    for each in made:
        each.close()


# HTTP


def test_a_webhook_arrives_over_tls_signed_and_on_one_connection(
    secured_receiver: HttpReceiver, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    hook = sender("webhook", f"{secured_receiver.url}/in?team=soc", ca_file=str(certificates.ca_file))
    alerts = [make_alert(n) for n in (1, 2, 3)]
    for alert in alerts:
        assert sent(hook, alert_message(encode_alert(alert))).end == "taken"
    for alert, request in zip(alerts, secured_receiver.requests, strict=True):
        told = Webhook(SECRET).verify(request.body, dict(request.headers))
        assert (told["data"]["id"], request.headers["webhook-id"]) == (alert.id, alert.id)
        assert (request.path, request.headers["host"]) == ("/in?team=soc", f"localhost:{secured_receiver.port}")
    assert secured_receiver.connections == 1


def test_each_attempt_has_its_own_time_and_the_same_id(receiver: HttpReceiver, sender: Callable[..., Sender]) -> None:
    from sealstream.forward.senders.requests import WebhookSender

    times = iter((1_000.0, 2_000.0))
    hook = WebhookSender(LOCAL._replace(url=receiver.url), lambda: next(times))
    assert [sent(hook, message_of()).end for _ in range(2)] == ["taken", "taken"]
    hook.close()
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (first.headers["webhook-timestamp"], second.headers["webhook-timestamp"]) == ("1000", "2000")
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_a_certificate_of_nobody_we_trust_gets_no_message(
    secured_receiver: HttpReceiver, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    outcome = sent(sender("webhook", secured_receiver.url, ca_file=str(certificates.other_ca_file)), message_of())
    assert (outcome.end, "certificate" in outcome.said.lower()) == ("later", True)
    assert secured_receiver.requests == []


def test_a_certificate_of_another_name_gets_no_message(
    secured_receiver: HttpReceiver, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    url = f"https://localhost.localdomain:{secured_receiver.port}"
    hook = sender("webhook", url, ca_file=str(certificates.ca_file))
    try:
        outcome = sent(hook, message_of())
    finally:
        assert secured_receiver.requests == []
    assert outcome.end == "later"


def test_a_redirect_is_not_followed_least_of_all_to_this_machine(
    receiver: HttpReceiver, sender: Callable[..., Sender]
) -> None:
    with HttpReceiver() as inner:
        for status in (301, 302, 303, 307, 308):
            receiver.answer = lambda request, status=status: Reply(  # type: ignore[misc]
                status, headers={"Location": f"http://127.0.0.1:{inner.port}/latest/meta-data"}
            )
            outcome = sent(sender("webhook", receiver.url), message_of())
            assert outcome.end == "unsure"
            assert "redirects are not followed" in outcome.said
        assert inner.requests == []


def test_this_machine_is_not_connected_to_unless_it_is_allowed(
    receiver: HttpReceiver, sender: Callable[..., Sender]
) -> None:
    for url in (receiver.url, f"http://127.0.0.1:{receiver.port}", f"http://[::ffff:127.0.0.1]:{receiver.port}"):
        for kind in ("webhook", "slack", "pagerduty", "splunk-hec", "otlp"):
            outcome = sent(sender(kind, url, allow_networks=()), message_of())
            assert outcome.end == "later"
            assert "allow_networks" in outcome.said
    assert receiver.connections == 0


def test_a_proxy_of_the_environment_is_not_used(
    receiver: HttpReceiver, sender: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert sent(sender("webhook", receiver.url), message_of()).end == "taken"


def test_an_answer_that_does_not_come_in_time_is_no_answer(
    receiver: HttpReceiver, sender: Callable[..., Sender]
) -> None:
    receiver.answer = lambda request: Reply(after_s=2)
    begun = time.monotonic()
    outcome = sent(sender("webhook", receiver.url, timeout_s=0.5), message_of())
    assert (outcome.end, time.monotonic() - begun < 1.5) == ("later", True)


def test_nobody_there_and_then_somebody(sender: Callable[..., Sender]) -> None:
    receiver = HttpReceiver()
    receiver.port = free_port(set())
    hook = sender("webhook", receiver.url)
    assert sent(hook, message_of()).end == "later"
    with receiver:
        assert sent(hook, message_of()).end == "taken"
        receiver.stop()
        receiver.start()
        outcomes = [sent(hook, message_of()).end for _ in range(2)]
    assert outcomes[-1] == "taken"


def test_a_huge_answer_is_not_read_to_its_end(receiver: HttpReceiver, sender: Callable[..., Sender]) -> None:
    receiver.answer = lambda request: Reply(400, b"x" * 50_000_000)
    outcome = sent(sender("webhook", receiver.url), message_of())
    assert (outcome.end, len(outcome.said) < 400) == ("refused", True)


def test_further_headers_are_sent(receiver: HttpReceiver, sender: Callable[..., Sender]) -> None:
    sent(sender("webhook", receiver.url, headers={"Authorization": "Bearer 123"}), message_of())
    assert receiver.requests[0].headers["authorization"] == "Bearer 123"


def test_slack_and_pagerduty_get_json(receiver: HttpReceiver, sender: Callable[..., Sender]) -> None:
    receiver.answer = lambda request: Reply(202)
    assert sent(sender("slack", receiver.url + "/services/T/B/x"), message_of()).end == "taken"
    assert sent(sender("pagerduty", receiver.url + "/v2/enqueue", secret="R" * 32), message_of()).end == "taken"
    slack, pagerduty = receiver.requests
    assert "blocks" in slack.json
    assert pagerduty.json["dedup_key"] == make_alert().id
    assert {slack.headers["content-type"], pagerduty.headers["content-type"]} == {"application/json"}


# OTLP


def test_otlp_sends_a_batch_that_the_protocols_schema_reads(
    receiver: HttpReceiver, sender: Callable[..., Sender]
) -> None:
    receiver.answer = lambda request: Reply(200, b"{}")
    otlp = sender("otlp", receiver.url + "/v1/logs")
    assert sent(otlp, *(message_of(n) for n in range(5))).end == "taken"
    told = json_format.Parse(receiver.requests[0].body, ExportLogsServiceRequest())
    assert len(told.resource_logs[0].scope_logs[0].log_records) == 5
    assert otlp.try_out().startswith("it takes requests")
    assert json.loads(receiver.requests[1].body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"] == []


def test_records_that_otlp_rejects_are_not_sent_again(receiver: HttpReceiver, sender: Callable[..., Sender]) -> None:
    body = {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "too old"}}
    receiver.answer = lambda request: Reply(200, json.dumps(body).encode())
    outcome = sent(sender("otlp", receiver.url), *(message_of(n) for n in range(5)))
    assert (outcome.end, outcome.whole) == ("refused", True)
    assert outcome.said == "2 of the 5 sent together were rejected: too old"
    receiver.answer = lambda request: Reply(200, b'{"partialSuccess":{"errorMessage":"a warning alone"}}')
    assert sent(sender("otlp", receiver.url), message_of()).end == "taken"


# Splunk


def splunk(collector: Collector, **more: Any) -> SplunkSender:
    options = {"ack_within_s": more.pop("ack_within_s", 1.0)}
    target = LOCAL._replace(kind="splunk-hec", url=collector.url, secret=Collector.TOKEN, **more)
    return SplunkSender(target, pause, **options)


def test_splunk_has_a_batch_when_it_says_that_it_is_indexed(collector: Collector) -> None:
    hec = splunk(collector)
    chain = SealedChain("splunk").add_many(3)
    outcome = hec.send([hec.prepare(entry_message(value)) for value in chain.values])
    assert outcome == Outcome("taken", "indexed (acknowledgement 0)")
    assert [event["event"] for event in collector.indexed] == [json.loads(value) for value in chain.values]


def test_what_splunk_received_and_lost_is_sent_again(collector: Collector) -> None:
    collector.indexes = False
    hec = splunk(collector)
    first = sent(hec, message_of(1))
    assert (first.end, "not indexed" in first.said) == ("later", True)
    collector.crash()
    collector.indexes = True
    assert sent(hec, message_of(1)).end == "taken"
    assert [event["event"]["id"] for event in collector.indexed] == [make_alert(1).id]
    channels = {request.headers["x-splunk-request-channel"] for request in collector.requests}
    assert len(channels) == 2  # numbers of a collector's earlier life mean nothing


def test_a_crash_of_splunk_while_we_wait_is_no_acknowledgement(collector: Collector) -> None:
    collector.indexes = False
    hec = splunk(collector, ack_within_s=0.5)
    original = collector.answer

    def crash_then_answer(request: Any) -> Reply:
        if request.path.endswith("/ack"):
            collector.crash()
        return original(request)

    collector.answer = crash_then_answer
    assert sent(hec, message_of(1)).end == "later"
    assert collector.indexed == []


def test_splunks_own_codes_say_whether_the_token_or_an_event_is_wrong(collector: Collector) -> None:
    wrong = splunk(collector)
    wrong._target = wrong._target._replace(secret="wrong")
    assert sent(wrong, message_of()).end == "unsure"
    fine = splunk(collector)
    collector.answer = lambda request: Reply(400, b'{"text":"Incorrect index","code":7,"invalid-event-number":0}')
    assert sent(fine, message_of()).end == "unsure"
    collector.answer = lambda request: Reply(400, b'{"text":"Invalid data format","code":6,"invalid-event-number":0}')
    assert sent(fine, message_of()).end == "refused"
    collector.answer = lambda request: Reply(503, b'{"text":"Server is busy","code":9}')
    assert sent(fine, message_of()).end == "later"


def test_a_token_without_acknowledgements_is_told(certificates: Certificates) -> None:
    with Collector(acknowledges=False) as collector:
        assert isinstance(collector, Collector)
        outcome = sent(splunk(collector), message_of())
        assert (outcome.end, "set acknowledgement = false" in outcome.said) == ("unsure", True)
        assert sent(splunk(collector, acknowledgement=False), message_of()).end == "taken"


def test_splunk_is_tried_without_an_event(collector: Collector) -> None:
    assert "No data" in splunk(collector).try_out()
    wrong = splunk(collector)
    wrong._target = wrong._target._replace(secret="wrong")
    with pytest.raises(Misconfigured, match="Invalid token"):
        wrong.try_out()
    collector.stop()
    with pytest.raises(Unavailable):
        splunk(collector).try_out()
    assert collector.indexed == []


# Syslog


def test_syslog_arrives_framed_and_read_to_its_end(
    syslog_receiver: SyslogReceiver, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    syslog = sender("syslog", syslog_receiver.url, ca_file=str(certificates.ca_file))
    chain = SealedChain("syslog").add_many(500)
    messages = [entry_message(value) for value in chain.values]
    assert syslog.send([syslog.prepare(message) for message in messages]).end == "taken"
    told = [json.loads(parse_syslog(message).text) for message in syslog_receiver.messages]
    assert told == [json.loads(value) for value in chain.values]
    assert syslog.try_out().startswith("localhost takes connections with TLSv1.3")


@pytest.mark.parametrize("how", ["silent", "dies"])
def test_a_syslog_receiver_that_does_not_say_that_it_has_read_everything_gets_it_again(
    how: str, syslog_receiver: SyslogReceiver, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    syslog = sender("syslog", syslog_receiver.url, ca_file=str(certificates.ca_file))
    if how == "silent":
        syslog_receiver.answers = False
    else:
        syslog_receiver.dies_after_bytes = 1_000
    messages = [entry_message(value) for value in SealedChain("syslog").add_many(500).values]
    outcome = syslog.send([syslog.prepare(message) for message in messages])
    assert outcome.end == "later"
    syslog_receiver.answers, syslog_receiver.dies_after_bytes = True, None
    assert sent(syslog, message_of()).end == "taken"


def test_syslog_shows_its_own_certificate_where_the_receiver_asks_for_one(
    certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    receiver = SyslogReceiver(certificates.server, certificates.ca_file)
    certificate_file, key_file = map(str, certificates.client)
    own = {"certificate_file": certificate_file, "key_file": key_file}
    try:
        without = sender("syslog", receiver.url, ca_file=str(certificates.ca_file))
        for _ in range(20):  # when the refusal arrives is chance, and each time it is one
            assert sent(without, message_of()).end == "later"
        shown = sent(sender("syslog", receiver.url, ca_file=str(certificates.ca_file), **own), message_of())
        assert shown.end == "taken"
    finally:
        receiver.close()


@dataclass
class Rsyslog:
    """A running rsyslogd that writes what it takes into a file, one JSON object a line."""

    port: int
    file: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []


_RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="128k" debug.onShutdown="off"
  defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{ca_file}"
  defaultNetstreamDriverCertFile="{certificate_file}" defaultNetstreamDriverKeyFile="{key_file}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="taken" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf") property(outname="timestamp" name="timereported"
    dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf") property(outname="app" name="app-name" format="jsonf")
  property(outname="procid" name="procid" format="jsonf") property(outname="msgid" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf") property(outname="text" name="msg" format="jsonf") }}
ruleset(name="all") {{ action(type="omfile" file="{file}" template="taken") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="all")
"""


@pytest.fixture
def rsyslog(certificates: Certificates, tmp_path: Path) -> Iterator[Rsyslog]:
    program = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("rsyslogd is not installed (Debian: apt install rsyslog rsyslog-openssl)")
    port, file = free_port(set()), tmp_path / "taken.jsonl"
    certificate_file, key_file = certificates.server
    written = {"folder": tmp_path, "ca_file": certificates.ca_file, "port": port, "file": file}
    (tmp_path / "rsyslog.conf").write_text(
        _RSYSLOG.format(**written, certificate_file=certificate_file, key_file=key_file)
    )
    command = [program, "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "rsyslog.pid")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield Rsyslog(port, file, process)
    process.terminate()
    process.wait(10)


def test_rsyslog_takes_what_we_send(
    rsyslog: Rsyslog, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    syslog = sender("syslog", f"syslog+tls://localhost:{rsyslog.port}", ca_file=str(certificates.ca_file))

    def listens() -> bool:
        assert rsyslog.process.poll() is None, "rsyslogd ended"
        try:
            return bool(syslog.try_out())
        except SealstreamError:
            return False

    wait_until(listens, 10)
    chain = SealedChain("rsyslog").add_many(300)
    chain.add(metadata={"long": "Ü" * 20_000, "text": 'a "quoted" \\ ]\n line'})
    messages = [*(entry_message(value) for value in chain.values), message_of(severity="critical")]
    outcome = syslog.send([syslog.prepare(message) for message in messages])
    assert outcome.end == "taken", outcome
    wait_until(lambda: len(rsyslog.lines()) == len(messages), 10, lambda: f"{len(rsyslog.lines())} lines")
    lines = rsyslog.lines()
    assert [json.loads(line["text"]) for line in lines] == [json.loads(message.value) for message in messages]
    last = lines[-1]
    assert (last["pri"], last["app"], last["procid"], last["msgid"]) == ("106", "sealstream", "main", "alert")
    assert last["timestamp"].startswith("2026-11-24T03:00:01")


# E-mail


def mail(receiver: MailReceiver, certificates: Certificates, **more: Any) -> dict[str, Any]:
    return {
        "kind": "email",
        "url": receiver.url,
        "ca_file": str(certificates.ca_file),
        "sender": "sealstream@example.com",
        "recipients": ("soc@example.com", "lead@example.com"),
        "username": MailReceiver.USER,
        "secret": MailReceiver.PASSWORD,
        **more,
    }


def test_a_mail_goes_over_starttls_to_every_recipient(
    mail_receiver: MailReceiver, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    post = sender(**mail(mail_receiver, certificates))
    assert sent(post, message_of(1), message_of(2)).end == "taken"
    (envelope,) = mail_receiver.mails
    assert mail_receiver.encrypted == [True]
    assert envelope.rcpt_tos == ["soc@example.com", "lead@example.com"]
    read = message_from_bytes(envelope.content or b"", policy=email_policy)
    assert read["Subject"].startswith("[high] 2 alerts")
    assert [part.get_filename() for part in read.iter_attachments()] == [  # type: ignore[attr-defined]
        f"alert-{make_alert(n).id}.json" for n in (1, 2)
    ]
    assert "with TLS" in post.try_out()
    assert len(mail_receiver.mails) == 1


def test_a_server_without_tls_gets_neither_password_nor_mail(
    certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    with MailReceiver(certificates.server, starttls=False) as receiver:
        post = sender(**mail(receiver, certificates))
        outcome = sent(post, message_of())
        assert (outcome.end, "STARTTLS" in outcome.said) == ("unsure", True)
        assert receiver.mails == []
        with pytest.raises(Misconfigured, match="STARTTLS"):
            post.try_out()


def test_what_a_mail_server_says_decides(
    mail_receiver: MailReceiver, certificates: Certificates, sender: Callable[..., Sender]
) -> None:
    post = sender(**mail(mail_receiver, certificates))
    mail_receiver.refuse = {"data": "554 5.7.1 looks like spam"}
    assert sent(post, message_of()) == Outcome("refused", "554 5.7.1 looks like spam")
    mail_receiver.refuse = {"data": "451 4.3.0 try again"}
    assert sent(post, message_of()).end == "later"
    mail_receiver.refuse = {"lead@example.com": "550 5.1.1 no such user"}
    outcome = sent(post, message_of())
    assert (outcome.end, outcome.said) == (
        "refused",
        "not every recipient was accepted: lead@example.com: 550 5.1.1 no such user",
    )
    mail_receiver.refuse = dict.fromkeys(("soc@example.com", "lead@example.com"), "450 4.2.1 later")
    assert sent(post, message_of()).end == "later"
    wrong = sender(**mail(mail_receiver, certificates, secret="wrong"))
    assert sent(wrong, message_of()).end == "unsure"
    with pytest.raises(Misconfigured, match="535"):
        wrong.try_out()
    strange = sender(**mail(mail_receiver, certificates, ca_file=str(certificates.other_ca_file)))
    assert sent(strange, message_of()).end == "later"
