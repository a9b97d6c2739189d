"""What each kind of receiver gets: mappings, signatures, and that nothing a stranger wrote breaks out of its place."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default as email_policy
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from standardwebhooks import Webhook, WebhookVerificationError
from tests.forward.conftest import SECRET, make_alert
from tests.forward.receivers import parse_syslog
from tests.postgres.conftest import SealedChain

from sealstream.errors import Misconfigured, NotCanonical
from sealstream.forward import Target
from sealstream.forward.formats.mail import mail_of
from sealstream.forward.formats.otlp import export_request, log_record
from sealstream.forward.formats.pagerduty import pagerduty_event
from sealstream.forward.formats.slack import slack_message
from sealstream.forward.formats.splunk import hec_event
from sealstream.forward.formats.standard_webhook import signed_headers, signing_keys, webhook_payload
from sealstream.forward.formats.syslog import framed, syslog_message
from sealstream.forward.messages import (
    Message,
    alert_message,
    closing_message,
    entry_message,
    trial_message,
    wanted,
)
from sealstream.layout.alerts import Alert, encode_alert
from sealstream.sealing import split_sealed

TARGET = Target(
    "t",
    "webhook",
    "https://hooks.example.com/in",
    secret=SECRET,
    link="https://audit.example.com/{chain}/alerts/{id}",
    log="audit.example.com/acme",
    sender="sealstream@example.com",
    recipients=("soc@example.com", "lead@example.com"),
)


def message_of(alert: Alert | None = None) -> Message:
    return alert_message(encode_alert(alert or make_alert()), came_ms=1_795_000_000_123)


@pytest.fixture(scope="module")
def chain() -> SealedChain:
    chain = SealedChain("forwarded")
    chain.add(
        result="denied", resource_id="Akte Müller", trace_id="4bf92f3577b34da6a3ce929d0e0e4736", metadata={"n": 1.5}
    )
    return chain


# Messages


def test_ids_follow_from_the_content(chain: SealedChain) -> None:
    value = chain.values[1]
    assert entry_message(value).id == split_sealed(value).hash.hex()
    alert = make_alert()
    assert (message_of(alert).id, message_of(alert).at) == (alert.id, alert.window[1])


def test_a_closing_is_a_control_entry_and_nothing_that_looks_like_one(chain: SealedChain) -> None:
    closed = {"action": "alert.closed", "metadata": {"alert": make_alert().id, "as": "benign", "reason": "r"}}
    said = chain.add("control", **closed).to_bytes()
    claimed = chain.add("event", **closed).to_bytes()
    mentioned = chain.add("event", metadata={"text": {"action": "alert.closed"}}).to_bytes()
    found = closing_message(said)
    assert found is not None
    assert (found.what, found.closed_alert) == ("closing", make_alert().id)
    assert closing_message(claimed) is None
    assert closing_message(mentioned) is None
    with pytest.raises(NotCanonical):
        closing_message(b'{"action":"alert.closed"}')


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"minimum_severity": "high"}, True),
        ({"minimum_severity": "critical"}, False),
        ({"detectors": ("failed_login_burst", "other")}, True),
        ({"detectors": ("other",)}, False),
        ({"chains": ("main",)}, True),
        ({"chains": ("other",)}, False),
        ({"tenants": ("clinic-7",)}, True),
        ({"tenants": ("clinic-8",)}, False),
    ],
)
def test_filters(filters: dict[str, Any], passes: bool) -> None:
    assert wanted(TARGET._replace(**filters), message_of()) is passes


def test_filters_of_tenants_keep_out_what_has_none() -> None:
    assert not wanted(TARGET._replace(tenants=("a",)), message_of(make_alert(tenant=None)))


# Standard Webhooks


def test_a_webhook_holds_the_alert_and_the_standards_own_library_accepts_its_signature() -> None:
    alert = make_alert()
    payload = webhook_payload(TARGET, message_of(alert))
    headers = signed_headers(alert.id, payload, signing_keys(SECRET), int(time.time()))
    told = Webhook(SECRET).verify(payload, headers)
    assert told["type"] == "alert.raised"
    assert told["data"] == json.loads(encode_alert(alert))
    assert told["link"] == f"https://audit.example.com/main/alerts/{alert.id}"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(payload.replace(b"17", b"16"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(payload, headers | {"webhook-id": make_alert(2).id})


def test_a_recorded_webhook_is_too_old_a_few_minutes_later() -> None:
    payload = webhook_payload(TARGET, message_of())
    headers = signed_headers("x", payload, signing_keys(SECRET), int(time.time()) - 301)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(payload, headers)


def test_two_secrets_sign_while_one_replaces_the_other() -> None:
    new = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    payload = webhook_payload(TARGET, message_of())
    headers = signed_headers("x", payload, signing_keys(f"{new} {SECRET}"), int(time.time()))
    for secret in (new, SECRET):
        Webhook(secret).verify(payload, headers)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!!", "whsec_" + base64.b64encode(b"short").decode(), "plain"]
)
def test_a_secret_that_is_none_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(Misconfigured, match="expected whsec_") as refusal:
        signing_keys(secret)
    assert len(secret) < 8 or secret.removeprefix("whsec_") not in str(refusal.value)


def test_a_webhook_of_an_entry_holds_the_sealed_entry_byte_for_byte(chain: SealedChain) -> None:
    value = chain.values[1]
    payload = webhook_payload(TARGET._replace(link=""), entry_message(value))
    assert b'"data":' + value + b"}" in payload
    assert json.loads(payload)["type"] == "entry.sealed"


# Slack, PagerDuty, Splunk, mail


def test_slack_shows_the_facts_the_query_and_the_link() -> None:
    told = json.loads(slack_message(TARGET, message_of()))
    assert told["text"].endswith("*high*: 17 failed logins of user-1 in 60 s from 2 addresses; usual is 0.2 an hour")
    text = json.dumps(told["blocks"], ensure_ascii=False)
    for part in ("failures 17, addresses 2", "failures an hour 0.2", "sealstream search", "|open>", "actor user-1"):
        assert part in text
    assert all(len(each["fields"]) <= 10 for each in told["blocks"] if "fields" in each)


def test_pagerduty_gets_the_alerts_id_as_its_key_and_the_evidence() -> None:
    alert = make_alert()
    told = json.loads(pagerduty_event(TARGET._replace(secret="R" * 32), message_of(alert)))
    assert (told["event_action"], told["dedup_key"], told["routing_key"]) == ("trigger", alert.id, "R" * 32)
    assert told["payload"]["severity"] == "error"
    assert told["payload"]["custom_details"] == json.loads(encode_alert(alert))
    assert told["links"][0]["href"].endswith(alert.id)


def test_pagerduty_is_told_that_an_alert_was_closed(chain: SealedChain) -> None:
    alert = make_alert()
    closed = {"action": "alert.closed", "metadata": {"alert": alert.id, "as": "benign", "reason": "r"}}
    message = closing_message(chain.add("control", **closed).to_bytes())
    assert message is not None
    told = json.loads(pagerduty_event(TARGET._replace(secret="R" * 32), message))
    assert told == {"routing_key": "R" * 32, "event_action": "resolve", "dedup_key": alert.id}


def test_an_event_of_pagerduty_stays_below_512_kb() -> None:
    alert = make_alert(seqs=[[n * 10, n * 10 + 1] for n in range(60_000)], summary="x" * 5_000)
    told = pagerduty_event(TARGET, message_of(alert))
    assert len(told) < 512_000
    assert len(json.loads(told)["payload"]["summary"]) == 1_024


def test_splunk_gets_the_sealed_entry_byte_for_byte_and_its_time(chain: SealedChain) -> None:
    value = chain.values[1]
    told = hec_event(TARGET._replace(splunk_index="audit"), entry_message(value))
    assert b'"event":' + value in told
    members = json.loads(told)
    assert members["time"] == f"{datetime(2026, 11, 24, 3, tzinfo=UTC).timestamp():.6f}"
    assert (members["index"], members["sourcetype"]) == ("audit", "sealstream:entry")
    assert members["fields"]["sealstream_id"] == split_sealed(value).hash.hex()


def test_a_mail_of_several_alerts_names_the_worst_and_holds_each() -> None:
    alerts = [make_alert(1), make_alert(2, severity="critical", summary="the worst of them"), make_alert(3)]
    mail = mail_of(TARGET, [message_of(alert) for alert in alerts])
    read = message_from_bytes(mail.as_bytes(), policy=email_policy)
    assert read["Subject"] == "[critical] 3 alerts, the worst: the worst of them"
    assert read["To"] == "soc@example.com, lead@example.com"
    attached = [json.loads(part.get_content()) for part in read.iter_attachments()]
    assert attached == [json.loads(encode_alert(alert)) for alert in alerts]
    body = read.get_body(("plain",))
    assert body is not None
    assert all(alert.id in body.get_content() for alert in alerts)


def test_the_same_alerts_make_the_same_message_id() -> None:
    once, again, other = (mail_of(TARGET, [message_of(make_alert(n))]) for n in (1, 1, 2))
    assert once["Message-ID"] == again["Message-ID"] != other["Message-ID"]
    assert once["Message-ID"] == f"<{make_alert(1).id}@audit.example.com>"


# Syslog and OTLP


def test_syslog_of_an_alert_and_of_an_entry(chain: SealedChain) -> None:
    alert, value = make_alert(severity="critical"), chain.values[1]
    told = parse_syslog(syslog_message(TARGET, message_of(alert), "host.example.com"))
    assert (told.priority, told.host, told.app, told.procid, told.msgid) == (
        13 * 8 + 2,
        "host.example.com",
        "sealstream",
        "main",
        "alert",
    )
    assert told.timestamp == "2026-11-24T03:00:01.000000Z"
    assert json.loads(told.text) == json.loads(encode_alert(alert))
    entry = parse_syslog(syslog_message(TARGET, entry_message(value), ""))
    assert (entry.priority, entry.host, entry.msgid) == (13 * 8 + 5, "-", "entry")
    assert json.loads(entry.text) == json.loads(value)
    assert entry.text.isascii()
    assert framed(b"abc") == b"3 abc"


def test_otlp_is_what_the_protocols_own_schema_reads(chain: SealedChain) -> None:
    alert, value = make_alert(), chain.values[1]
    records = [log_record(TARGET, message_of(alert)), log_record(TARGET, entry_message(value, 1_795_000_000_123))]
    told = json_format.Parse(export_request(TARGET, records), ExportLogsServiceRequest())  # unknown names are refused
    (resource_logs,) = told.resource_logs
    assert {each.key: each.value.string_value for each in resource_logs.resource.attributes} == {
        "service.name": "sealstream",
        "sealstream.log": "audit.example.com/acme",
    }
    first, second = resource_logs.scope_logs[0].log_records
    assert (first.severity_number, first.event_name) == (17, "sealstream.alert")
    assert first.body.string_value == alert.summary
    assert second.body.string_value == value.decode()
    assert second.time_unix_nano == int(datetime(2026, 11, 24, 3, tzinfo=UTC).timestamp()) * 10**9
    assert second.observed_time_unix_nano == 1_795_000_000_123_000_000
    attributes = {each.key: each.value for each in second.attributes}
    assert attributes["sealstream.seq"].int_value == 1
    assert attributes["sealstream.result"].string_value == "denied"


def test_a_trace_id_is_hex_in_otlp_and_nothing_else_becomes_one(chain: SealedChain) -> None:
    assert json.loads(bytes(log_record(TARGET, entry_message(chain.values[1]))))["traceId"] == (
        "4bf92f3577b34da6a3ce929d0e0e4736"
    )
    for odd in ("0" * 32, "not hex", "4BF92F3577B34DA6A3CE929D0E0E4736"):
        value = SealedChain("odd").add(trace_id=odd).to_bytes()
        assert "traceId" not in json.loads(bytes(log_record(TARGET, entry_message(value))))


# What strangers write

_HOSTILE = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
) | st.sampled_from(
    [
        "<!channel>",
        "<https://evil.example|here>",
        "a\r\nBcc: all@example.com",
        "'; rm -rf ~; '",
        "```",
        ']"\\',
        "\x1b[2J",
        " ",
    ]
)
_MAKERS: dict[str, Callable[[Message], bytes]] = {
    "webhook": lambda message: webhook_payload(TARGET, message),
    "slack": lambda message: slack_message(TARGET, message),
    "pagerduty": lambda message: pagerduty_event(TARGET, message),
    "splunk-hec": lambda message: hec_event(TARGET, message),
    "otlp": lambda message: export_request(TARGET, [log_record(TARGET, message)]),
}


@settings(deadline=None)
@given(hostile=_HOSTILE)
def test_a_hostile_name_stays_a_name(hostile: str) -> None:
    alert = make_alert(subject=hostile, summary=f"3 logins of {hostile}", query=f'actor:"{hostile}"')
    message = message_of(alert)
    for make in _MAKERS.values():
        assert msgspec.json.decode(make(message))
    slack = json.loads(slack_message(TARGET._replace(link=""), message))
    shown = [part for block in slack["blocks"] for part in (block.get("text"), *block.get("fields", ())) if part]
    parsed = [slack["text"], *(part["text"] for part in shown if part["type"] == "mrkdwn")]
    assert not any(sign in text for text in parsed for sign in "<>`")
    told = parse_syslog(syslog_message(TARGET, message, hostile))
    assert json.loads(told.text)["subject"] == hostile
    mail = message_from_bytes(mail_of(TARGET, [message]).as_bytes(), policy=email_policy)
    assert set(mail.keys()) == {
        *("Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"),
    }
    body = mail.get_body(("plain",))
    assert body is not None
    command = next(line for line in body.get_content().splitlines() if line.startswith("sealstream search"))
    if "\n" not in hostile and "\r" not in hostile and hostile.isprintable():
        assert shlex.split(command)[2:] == [alert.query]


def test_a_test_message_says_that_it_is_one() -> None:
    message = trial_message(TARGET, make_alert().id, datetime(2026, 11, 24, 3, tzinfo=UTC))
    assert message.alert is not None
    assert "nothing has happened" in message.alert.summary
    for make in _MAKERS.values():
        assert b"nothing has happened" in make(message)
