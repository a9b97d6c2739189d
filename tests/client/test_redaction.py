"""Secrets stay in the process, whatever they are called and wherever they stand; everything else goes as it was."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.client import AuditClient, Outbox, Redaction
from sealstream.client.redaction import REDACTED
from sealstream.client.testing import Recorded, recording
from sealstream.errors import Misconfigured

SECRET = "correct-horse-battery"


def redacted(redaction: Redaction | None = None, **fields: Any) -> dict[str, Any]:
    event = dict(fields)
    (redaction or Redaction()).redact(event)
    return event


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password",
        "user_password",
        "userPassword",
        "userpassword",
        "new-password",
        "passwordHash",
        "pwd",
        "token",
        "access_token",
        "accessToken",
        "X-Api-Key",
        "api_key",
        "APIKey",
        "Authorization",
        "Set-Cookie",
        "client_secret",
        "AWS_SECRET_ACCESS_KEY",
        "private.key",
        "card_number",
        "cardNumber",
        "credit card",
        "cvv",
        "otp",
        "JWTToken",
        "SAMLToken",
        "PINCode",
        "pwd1",
        "secret2",
        "mysecret",
        "pass",
        "db_pass",
        "dbPass2",
        "SMTP_PASS",
    ],
)
def test_what_is_called_a_secret_is_redacted(name: str) -> None:
    for value in (SECRET, 1234, [SECRET], {"a": SECRET}, b"bytes"):
        assert redacted(metadata={name: value, "a": 1})["metadata"] == {name: REDACTED, "a": 1}


@pytest.mark.parametrize(
    "name",
    [
        "secretary",
        "tokenizer",
        "author",
        "cookbook",
        "keyboard",
        "api",
        "card",
        "spin",
        "pinned_by",
        "compass",
        "key",
        "bypass",
        "boardingPass",
        "pass_count",
    ],
)
def test_what_is_not_is_kept(name: str) -> None:
    assert redacted(metadata={name: SECRET})["metadata"] == {name: SECRET}


def test_truth_values_and_absence_are_no_secrets() -> None:
    told = {"password_changed": True, "token": None}
    assert redacted(metadata=told)["metadata"] is told


def test_at_any_depth_and_the_values_given_are_not_changed() -> None:
    inner = {"token": SECRET, "kept": [1, {"b": 2}]}
    told = {"a": [{"b": (inner, "x")}], "same": {"c": 1}}
    frozen = MappingProxyType({"pwd": SECRET})
    event = redacted(metadata=told, old_values=frozen, new_values={"n": 1})
    assert event["metadata"] == {"a": [{"b": [{"token": REDACTED, "kept": [1, {"b": 2}]}, "x"]}], "same": {"c": 1}}
    assert event["old_values"] == {"pwd": REDACTED}
    assert inner["token"] == SECRET
    assert event["metadata"]["same"] is told["same"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("paid with 4111 1111 1111 1111.", "paid with [redacted]."),
        ("4111-1111-1111-1111", "[redacted]"),
        ("378282246310005 and 3782 822463 10005", "[redacted] and [redacted]"),
        ("Bearer abcdef0123456789", "Bearer [redacted]"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic [redacted]"),
        ("https://user:hunter2@example.com/x", "https://user:[redacted]@example.com/x"),
        ("GET /reset?token=abc123&next=/", "GET /reset?token=[redacted]&next=/"),
        ('{"user": "a", "password": "b c"}', '{"user": "a", "password": [redacted]}'),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "[redacted]"),
        ("userPassword=hunter2, accessToken=abc123", "userPassword=[redacted], accessToken=[redacted]"),
        ('{"password": "ab\\"cd-rest", "n": 1}', '{"password": [redacted], "n": 1}'),
        ('cut off: password="hunter2', "cut off: password=[redacted]"),
        ("postgres://u:p@ss@host/x", "postgres://u:[redacted]@host/x"),
        (f"redis://u:{'x' * 300}@host", "redis://u:[redacted]@host"),
        ("https://ghp_abcdefghijklmnopqrst0123@github.com", "https://[redacted]@github.com"),
        ("with sk_live_0123456789abcdef and AKIAABCDEFGHIJKLMNOP", "with [redacted] and [redacted]"),
        ("Basic dXNlcjpwYXNz", "Basic [redacted]"),
        ("Bearer\tabcdef0123456789", "Bearer\t[redacted]"),
        ("key -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- end", "key [redacted] end"),
    ],
)
def test_within_texts_what_looks_like_a_secret_is_redacted(text: str, expected: str) -> None:
    event = redacted(metadata={"a": text, "b": [text]}, reason=text, new_values={"c": text})
    assert redacted(**event) == event  # what becomes text later is looked at twice
    assert event == {
        "metadata": {"a": expected, "b": [expected]},
        "reason": expected,
        "new_values": {"c": expected},
    }


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # no check digit
        "1767225600000000",  # a time
        "01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e",
        "in the 4111111111111111.5th",
        "basic understanding of it",
        "a tokenizer: fast",
        "see https://example.com/a:b@c",
    ],
)
def test_what_only_resembles_one_is_kept(text: str) -> None:
    assert redacted(metadata={"a": text}, reason=text) == {"metadata": {"a": text}, "reason": text}


def test_beside_its_name_a_secret_is_redacted() -> None:
    told = {
        "headers": [["Cookie", "sid=1"], ["Host", "a"], ("token", 5)],
        "field": {"name": "password", "value": "hunter2"},
        "other": {"name": "ann", "value": 7},
        "command": ["login", "--user", "ann", "--password", "hunter2", "--force"],
        "names": ["token", "password", "user"],
    }
    assert redacted(metadata=told)["metadata"] == {
        "headers": [["Cookie", REDACTED], ["Host", "a"], ["token", REDACTED]],
        "field": {"name": "password", "value": REDACTED},
        "other": {"name": "ann", "value": 7},
        "command": ["login", "--user", "ann", "--password", REDACTED, "--force"],
        "names": ["token", "password", "user"],
    }


def test_a_card_number_that_is_a_number() -> None:
    assert redacted(metadata={"a": 4111111111111111, "b": 4111111111111112})["metadata"] == {
        "a": REDACTED,
        "b": 4111111111111112,
    }


def test_names_paths_and_patterns_of_the_application() -> None:
    redaction = Redaction(
        names=["iban", "mothersName"],
        keep=["max_tokens"],
        paths=["new_values.address.*", "metadata.rows.*.ssn", "user_agent", "ip_address", "changed_fields"],
        patterns=[r"MRN-\d+", r"case (?P<secret>\d+) of"],
    )
    event = redacted(
        redaction,
        metadata={"IBAN": "DE1", "mothers_name": "x", "max_tokens": 5, "rows": [{"ssn": 1, "n": 2}, {"n": 3}]},
        new_values={"address": {"street": "s", "no": None}, "note": "MRN-77, case 12 of 30"},
        old_values={"address": {"street": "kept"}},
        user_agent="agent",
        ip_address="10.0.0.1",
        changed_fields=["address"],
    )
    assert event == {
        "metadata": {
            "IBAN": REDACTED,
            "mothers_name": REDACTED,
            "max_tokens": 5,
            "rows": [{"ssn": REDACTED, "n": 2}, {"n": 3}],
        },
        "new_values": {"address": {"street": REDACTED, "no": None}, "note": "[redacted], case [redacted] of 30"},
        "old_values": {"address": {"street": "kept"}},
        "user_agent": REDACTED,
        "ip_address": None,
        "changed_fields": [REDACTED],
    }
    assert redacted(Redaction(names=["iban"], defaults=False), metadata={"iban": "1", "password": "2"}) == {
        "metadata": {"iban": REDACTED, "password": "2"}
    }
    assert redacted(Redaction.none(), reason="4111 1111 1111 1111")["reason"] == "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"paths": ["actor_id"]}, "path 'actor_id'"),
        ({"paths": ["metadata..a"]}, "path 'metadata..a'"),
        ({"paths": ["reason.a"]}, "path 'reason.a'"),
        ({"patterns": ["("]}, "no regular expression"),
        ({"names": "iban"}, "expected lists"),
    ],
)
def test_what_is_wrong_is_said_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured, match=said.replace("(", r"\(")):
        Redaction(**options)


class Kind(Enum):
    BEARER = "Bearer abcdef0123456789"


def test_nothing_secret_is_in_the_bytes_that_are_sent_on_any_road(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "resource_type": "r",
        "resource_id": 1,
        "reason": f"password={SECRET}",
        "metadata": {"deep": [{"token": SECRET}], "kind": Kind.BEARER, "big": "x" * 70_000},
        "new_values": {"password": SECRET},
    }
    with recording() as recorded:
        client = AuditClient("main", "127.0.0.1:1")
        assert client.emit("write", **fields) is not None
        assert client.emit("write", **{**fields, "metadata": {"token": SECRET, "kind": Kind.BEARER}}) is not None
        client.close(0)
    written = [json.dumps(event) for event in recorded] + [Outbox().row("write", **fields).value.decode()]
    assert len(written) == 3
    for event in written:
        assert SECRET not in event
        assert "abcdef0123456789" not in event
        assert REDACTED in event
    assert recorded[1]["metadata"] == {"kind": "Bearer [redacted]", "token": REDACTED}


def test_an_event_that_needs_no_conversion_is_redacted_too(recorded: Recorded) -> None:
    client = AuditClient("main", "127.0.0.1:1")
    fields: dict[str, Any] = {"resource_type": "r", "resource_id": "1", "reason": f"token={SECRET}"}
    client.emit("write", **fields, metadata={"token": SECRET}, old_values={"a": [{"pwd": SECRET}]})
    assert recorded.one()["metadata"] == {"token": REDACTED}
    assert SECRET not in str(list(recorded)) + Outbox().row("write", **fields).value.decode()


def test_a_redacted_address_is_left_out_and_the_event_stays(recorded: Recorded) -> None:
    client = AuditClient("main", "127.0.0.1:1", redaction=Redaction(paths=["ip_address"]))
    assert client.emit("read", resource_type="r", resource_id=1, ip_address="no address", metadata={"k": Kind.BEARER})
    assert "ip_address" not in recorded.one(action="read")
    assert "no address" not in json.dumps(recorded)


def test_what_nests_for_ever_is_no_reason_to_lose_an_event(recorded: Recorded) -> None:
    told: dict[str, Any] = {}
    for _ in range(5_000):
        told = {"a": told}
    client = AuditClient("main", "127.0.0.1:1")
    assert client.emit("read", resource_type="r", resource_id=1, metadata=told) is not None
    assert len(recorded) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz_", max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_without_a_secret_everything_is_as_it_was(value: Any) -> None:
    told = {"value": value}
    assert redacted(Redaction.none(), metadata=told)["metadata"] is told
    once = redacted(metadata=told)
    assert redacted(**once) == once  # and what was redacted stays as it is
