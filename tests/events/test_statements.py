"""Statements: what the log says about itself, and what the control topic may."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.cli.dismissing import MAX_REASON_BYTES
from sealstream.errors import InvalidEvent
from sealstream.events import (
    MAX_EVENT_BYTES,
    MAX_INTEGER,
    MAX_LETTERS,
    SOURCE_FIELDS,
    STATEMENTS,
    check_metadata,
    control_statement,
    log_statement,
    statement_schemas,
    validate_control,
    validate_event,
)
from sealstream.events.metadata_schema import KEYWORDS, misfit
from sealstream.sealing import new_signing_key, signer

ID = "0193a8f2-7c1e-7000-8000-0123456789ab"
TIME = "2026-11-24T03:00:00.123456Z"
HEX = "ab" * 32
PRODUCERS = {"producers": [{"producer_id": "p", "next": 3, "last_seen": TIME}]}
STORE = {"store": "postgres", "first_seq": 0, "last_seq": 9, "reason": "online time over"}
EXAMPLES: dict[str, dict[str, Any] | None] = {
    "chain.created": {
        "origin": "audit.example.com/clinic/main",
        "vkey": "audit.example.com/clinic/main+0a1b2c3d+AaBbCc+/=",
        "nonce": HEX,
        "retention": {"policy": "hipaa", "archive_days": 2196},
        "segment_entries": 100_000,
        "segment_bytes": 67_108_864,
        "segment_seconds": 300,
    },
    "chain.continued": {"origin": "a.b/main", "checkpoint": "a.b/main\n5\n...\n", "first_lost": 5, "last_lost": 9},
    "sequencer.started": {"host": "h", "version": "0.1.0", "raw_topic_id": "x", "control_topic_id": "y"},
    "sequencer.stopped": {"host": "h", "version": "0.1.0"},
    "chain.heartbeat": None,
    "input.passed": {
        "topic": "raw",
        "items": [
            {"what": "refused", "first": 1, "last": 2, "sha256": HEX, "reason": "id is missing"},
            {"what": "repeated", "first": 3, "last": 3, "sha256": HEX, "of": 1},
            {"what": "repeated", "first": 4, "last": 5, "sha256": HEX},
            {"what": "empty", "first": 6, "last": 6},
        ],
    },
    "input.lost": {"topic": "control", "old_topic_id": "a", "new_topic_id": "b", "first": 7},
    "retention.extended": {
        "from": {"policy": "pci", "archive_days": 732, "online_days": 366},
        "to": {"policy": "hipaa", "archive_days": 2196},
        "by": "ann",
    },
    "deadletter.retried": {
        "letter": 4,
        "topic": "raw",
        "offset": 17,
        "sha256": HEX,
        "event": ID,
        "corrects": 12,
        "by": "ann",
        "instead_of": 20,
    },
    "deadletter.dismissed": {
        "reason": "a port scan",
        "letters": [
            {"letter": 4, "topic": "control", "offset": 17, "sha256": HEX, "corrects": 12, "instead_of": 20},
            {"letter": 5, "topic": "raw", "offset": 3, "sha256": HEX},
        ],
    },
    "alert.raised": {
        "detector": "failed_login_burst",
        "subject_kind": "actor",
        "severity": "high",
        "confidence": 0.93,
        "summary": "17 failed logins of user-123 in 60 s from 2 addresses; usual is 0.2 an hour",
        "window": ["2026-11-02T09:00:00Z", "2026-11-02T09:00:59Z"],
        "incident": ID,
        "query": "actor:user-123",
        "score": 2.25,
        "seen": {"failures": 17},
        "usual": {"failures_an_hour": 0.2},
        "seqs": [[4, 9]],
        "rule": "r",
    },
    "alert.acknowledged": {"alert": ID, "note": "mine", "by": "ann"},
    "alert.closed": {"alert": ID, "as": "benign", "reason": "a drill", "by": "ann"},
    "alert.muted": {"mute": ID, "until": TIME, "reason": "a migration", "detector": "d", "subject": "s", "by": "ann"},
    "alert.unmuted": {"mute": ID, "reason": "it is over", "by": "ann"},
    "review.started": {"review": ID, "period": "2026-11", "first": TIME, "before": TIME, "by": "ann"},
    "review.signed": {
        "review": ID,
        "period": "2026-11",
        "note": "seen, nothing to follow up",
        "document_sha256": HEX,
        "size": 1200,
        "figures": {"denied": 4},
        "by": "ann",
    },
    "producer.gap": {"producer_id": "p", "ranges": [[1, 2], [5, 5]]},
    "producer.unsure": {"producer_id": "p", "ranges": [[1, 1]]},
    "producer.conflict": {"seq": 9, "of": 3, "digest": HEX, "of_digest": HEX},
    "producer.silent": PRODUCERS,
    "producer.dropped": PRODUCERS,
    "segment.archived": {
        "object": "entries/x.parquet",
        "object_version": "v1",
        "object_sha256": HEX,
        "manifest": "manifests/x.json",
        "manifest_version": "v1",
        "manifest_sha256": HEX,
        "retain_until": TIME,
    },
    "archive.destroyed": {
        "first_seq": 0,
        "last_seq": 9,
        "last_hash": HEX,
        "root": HEX,
        "reason": "6 years are over",
        "segments": [
            {
                "object": "entries/x.parquet",
                "object_version": "v1",
                "object_sha256": HEX,
                "manifest": "manifests/x.json",
                "manifest_version": "v1",
                "manifest_sha256": HEX,
                "retain_until": TIME,
                "first_seq": 0,
                "last_seq": 9,
                "first_hash": HEX,
                "last_hash": HEX,
            }
        ],
        "retention": {"policy": "6y", "archive_days": 2196},
        "by": "ann",
    },
    "store.expired": STORE
    | {
        "month": "2025-11",
        "first_hash": HEX,
        "last_hash": HEX,
        "root": HEX,
        "retention": {"policy": "pci", "archive_days": 732, "online_days": 366},
    },
    "store.repaired": STORE,
    "hold.set": {
        "hold": ID,
        "reason": "Smith v. Clinic",
        "first_day": "2026-03-01",
        "last_day": "2026-03-31",
        "by": "ann",
    },
    "hold.lifted": {"hold": ID, "reason": "settled", "by": "ann"},
    "log.read": {
        "what": "search",
        "store": "postgres",
        "phase": "end",
        "query": "actor:ann",
        "rows": 3,
        "begin_id": ID,
        "outcome": "cut short",
        "verdict": "holds",
        "request_id": "r",
    },
    "apikey.created": {"name": "billing", "chain": "main", "actor_types": ["user"], "tenant": "a", "expires_at": TIME},
    "apikey.revoked": {"name": "billing"},
    "token.created": {"name": "siem", "role": "reader", "chains": ["main"], "tenant": "acme", "expires_at": TIME},
    "token.revoked": {"name": "siem"},
    "producer_key.registered": {
        "vkey": "billing@audit.example.com/clinic/main+1a2b3c4d+AQ==",
        "signing": "required",
        "service": "billing",
        "tenant": "acme",
        "expires_at": TIME,
        "by": "ann",
    },
    "producer_key.revoked": {
        "key": "billing+1a2b3c4d",
        "reason": "stolen",
        "from_seq": 3,
        "signing": "optional",
        "by": "ann",
    },
    "signature.refused": {"seq": 3, "why": "false", "key": "billing+1a2b3c4d"},
    "producer.closed": {"next": 7},
    "audit.loss": {"reason": "buffer full", "count": 3},
}
OF_KIND = {
    kind: [name for name, made in STATEMENTS.items() if made.kind == kind] for kind in ("log", "control", "event")
}
PLACE = {"id": ID, "timestamp": TIME, "resource_type": "chain", "resource_id": "main"}
JUDGE = jsonschema.Draft202012Validator(statement_schemas())


def raw(action: str, metadata: object) -> bytes:
    event = {"actor_id": "sealstream/archive", "actor_type": "system", "result": "success", "action": action, **PLACE}
    return json.dumps(event | {"metadata": metadata}).encode()


def test_the_table_is_complete():
    assert set(EXAMPLES) == set(STATEMENTS)
    assert len(OF_KIND["log"]) == 13
    assert OF_KIND["control"] == [
        "segment.archived",
        "archive.destroyed",
        "store.expired",
        "store.repaired",
        "retention.extended",
        "hold.set",
        "hold.lifted",
        "deadletter.retried",
        "deadletter.dismissed",
        "log.read",
        "token.created",
        "token.revoked",
        "producer_key.registered",
        "producer_key.revoked",
        "apikey.created",
        "apikey.revoked",
        "alert.raised",
        "alert.acknowledged",
        "alert.closed",
        "alert.muted",
        "alert.unmuted",
        "review.started",
        "review.signed",
    ]
    assert OF_KIND["event"] == ["producer.closed", "audit.loss"]


@pytest.mark.parametrize("action", OF_KIND["log"])
def test_the_log_makes_its_statements(action):
    made = log_statement(action, process="sequencer", metadata=EXAMPLES[action], **PLACE)
    event = json.loads(made)
    assert validate_event(made).canonical == made
    assert event.pop("metadata", None) == EXAMPLES[action]
    assert event == {
        "id": ID,
        "timestamp": TIME,
        "actor_id": "sealstream/sequencer",
        "actor_type": "system",
        "action": action,
        "resource_type": "chain",
        "resource_id": "main",
        "result": "success",
    }
    assert JUDGE.is_valid(json.loads(made))


@pytest.mark.parametrize("origin", ["a.b/main", "audit.example.com/clinic/x_y/phi-0"])
def test_a_real_key_and_origin_fit_entry_0(origin):
    vkey = signer(new_signing_key(origin)).vkey
    metadata = EXAMPLES["chain.created"] | {"origin": origin, "vkey": vkey}
    made = log_statement("chain.created", process="sequencer", metadata=metadata, **PLACE)
    assert json.loads(made)["metadata"]["vkey"] == vkey


@pytest.mark.parametrize("action", [*OF_KIND["control"], *OF_KIND["event"], "read"])
def test_the_log_makes_no_others(action):
    with pytest.raises(InvalidEvent, match="no statement of the log"):
        log_statement(action, process="sequencer", metadata=EXAMPLES.get(action), **PLACE)


@pytest.mark.parametrize("action", OF_KIND["control"])
def test_control_statements_pass_the_control_topic(action):
    made = control_statement(action, actor_id="sealstream/archive", metadata=EXAMPLES[action], **PLACE)
    valid = validate_control(made)
    assert valid.canonical == made
    assert valid.action == action
    assert json.loads(made)["actor_type"] == "system"
    assert json.loads(made)["result"] == "success"


def test_a_person_can_command():
    made = control_statement("drill.held", actor_id="ann", actor_type="admin", metadata={"weeks": 2}, **PLACE)
    event = json.loads(validate_control(made).canonical)
    assert (event["actor_id"], event["actor_type"], event["metadata"]) == ("ann", "admin", {"weeks": 2})


def test_as_many_letters_as_one_dismissal_may_name_fit_an_entry_whatever_their_numbers():
    item = dict.fromkeys(("letter", "offset", "corrects", "instead_of"), MAX_INTEGER) | {"topic": "control"}
    letters = [item | {"sha256": HEX}] * MAX_LETTERS
    source = dict.fromkeys(SOURCE_FIELDS, "s" * 512)

    def dismissal(letters):
        metadata = {"reason": '"' * MAX_REASON_BYTES, "letters": letters, "by": "b" * 512}
        context = {"source": source}
        return control_statement(
            "deadletter.dismissed", actor_id="a" * 512, metadata=metadata, context=context, **PLACE
        )

    assert len(dismissal(letters)) < MAX_EVENT_BYTES
    with pytest.raises(InvalidEvent, match="201 items"):
        dismissal([*letters, letters[0]])


@pytest.mark.parametrize("action", OF_KIND["log"])
def test_nobody_can_say_through_a_topic_what_only_the_log_says(action):
    with pytest.raises(InvalidEvent, match="only the sequencer may make it") as refused:
        validate_control(raw(action, EXAMPLES[action]))
    assert refused.value.field == "action"
    with pytest.raises(InvalidEvent, match="only the sequencer"):
        control_statement(action, actor_id="x", metadata=EXAMPLES[action], **PLACE)
    # In the raw topic it is an event like any other: its kind says that it is a producer's claim.
    assert validate_event(raw(action, EXAMPLES[action])).action == action


@pytest.mark.parametrize("action", [*OF_KIND["event"], "read", "some.later.statement"])
def test_what_is_nobodys_statement_passes_the_control_topic(action):
    assert validate_control(raw(action, {"anything": [1]})).action == action


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"object_sha256": "AB" * 32}, "metadata.object_sha256", "has the wrong form"),
        ({"object_sha256": "ab" * 31}, "metadata.object_sha256", "has the wrong form"),
        ({"object_sha256": HEX + "\n"}, "metadata.object_sha256", "has the wrong form"),
        ({"object": ""}, "metadata.object", "is empty"),
        ({"object": None}, "metadata.object", "is null"),
        ({"retain_until": "2026-11-24T03:00:00Z"}, "metadata.retain_until", "has the wrong form"),
        ({"manifest": 5}, "metadata.manifest", "is a number"),
        ({"manifest": ...}, "metadata.manifest", "is missing"),
    ],
)
def test_a_malformed_statement_is_refused_with_its_member(change, path, words):
    metadata = {name: value for name, value in (EXAMPLES["segment.archived"] | change).items() if value is not ...}
    with pytest.raises(InvalidEvent, match=words) as refused:
        validate_control(raw("segment.archived", metadata))
    assert refused.value.field == path
    assert "(in a segment.archived)" in refused.value.reason
    with pytest.raises(InvalidEvent, match=words):
        control_statement("segment.archived", actor_id="a", metadata=metadata, **PLACE)


@pytest.mark.parametrize("metadata", [None, {}])
def test_a_statement_without_its_metadata_is_refused(metadata):
    with pytest.raises(InvalidEvent, match="missing"):
        validate_control(raw("store.expired", metadata))


def test_a_heartbeat_has_no_metadata():
    with pytest.raises(InvalidEvent, match=r"metadata is not expected: chain\.heartbeat has none"):
        log_statement("chain.heartbeat", process="sequencer", metadata={}, **PLACE)


def test_members_of_a_later_version_are_passed_over():
    metadata = EXAMPLES["store.expired"] | {"months": ["2026-01"]}
    assert validate_control(raw("store.expired", metadata)).action == "store.expired"


def test_numbers_written_as_floats_are_counts_too():
    assert b'"first_seq":0,"last_seq":9' in validate_control(raw("store.expired", STORE | {"last_seq": 9.0})).canonical
    with pytest.raises(InvalidEvent, match="is not an integer"):
        validate_control(raw("store.expired", STORE | {"last_seq": 9.5}))


def test_a_statement_too_large_for_an_entry_is_refused():
    ranges = [[number, number] for number in range(10**9, 10**9 + 4096)]
    with pytest.raises(InvalidEvent, match="too large in canonical form"):
        log_statement("producer.gap", process="sequencer", metadata={"producer_id": "p", "ranges": ranges}, **PLACE)


def test_the_largest_account_of_one_entry_fits():
    items = [
        {"what": "refused", "first": 2**53 - 1, "last": 2**53 - 1, "sha256": HEX, "reason": "x" * 120}
        for _ in range(100)
    ]
    made = log_statement("input.passed", process="sequencer", metadata={"topic": "control", "items": items}, **PLACE)
    assert len(made) < 61_440
    with pytest.raises(InvalidEvent, match="has 101 items: expected 1 to 100"):
        log_statement("input.passed", process="s", metadata={"topic": "raw", "items": [*items, items[0]]}, **PLACE)


@pytest.mark.parametrize(
    ("item", "path", "words"),
    [
        ({"what": "eaten", "first": 1, "last": 1}, "what", "is none of its values"),
        ({"what": "refused", "first": 1, "last": 1, "reason": "r"}, "sha256", "is missing"),
        ({"what": "refused", "first": 1, "last": 1, "sha256": HEX}, "reason", "is missing"),
        ({"what": "refused", "first": 1, "last": 1, "sha256": HEX, "reason": "\u00e9"}, "reason", "wrong form"),
        ({"what": "refused", "first": 1, "last": 1, "sha256": HEX, "reason": "x" * 121}, "reason", "wrong form"),
        ({"what": "repeated", "first": 1, "last": 1, "sha256": HEX, "of": -1}, "of", "out of range"),
        ({"what": "empty", "first": -1, "last": 1}, "first", "out of range"),
        ({"what": "empty", "first": 1}, "last", "is missing"),
    ],
)
def test_a_malformed_account_names_its_item(item, path, words):
    with pytest.raises(InvalidEvent, match=words) as refused:
        check_metadata("input.passed", {"topic": "raw", "items": [{"what": "empty", "first": 0, "last": 0}, item]})
    assert refused.value.field == f"metadata.items[1].{path}"


def schemas_within(schema: Any) -> list[dict[str, Any]]:
    """The schema and every schema in it."""
    found = [schema]
    for member in [
        *schema.get("properties", {}).values(),
        *schema.get("anyOf", []),
        *filter(None, [schema.get("items")]),
    ]:
        found += schemas_within(member)
    return found


def test_statements_use_only_the_keywords_that_our_validator_knows():
    for statement in STATEMENTS.values():
        for schema in schemas_within(statement.metadata or {"type": "object"}):
            assert set(schema) <= KEYWORDS
            assert ("anyOf" in schema) + ("enum" in schema) + ("type" in schema) == 1
            if "anyOf" in schema or "enum" in schema:
                assert len(schema) == 1


WILD = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        1,
        1.0,
        1.5,
        2**53,
        "",
        "x",
        HEX,
        HEX + "\n",
        TIME,
        "raw",
        "refused",
        [],
        [[]],
        [[1, 2]],
        [[1]],
        {},
    ]
).map(copy.deepcopy)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """A statement's metadata with up to two places changed, removed or put in."""
    action = draw(st.sampled_from(sorted(name for name, metadata in EXAMPLES.items() if metadata is not None)))
    metadata: Any = copy.deepcopy(EXAMPLES[action])
    for _ in range(draw(st.integers(0, 2))):
        place = metadata
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(WILD)
            break
    return action, draw(st.just(metadata) | WILD) if draw(st.integers(0, 9)) == 0 else metadata


@settings(max_examples=1500, deadline=None)
@given(mutated())
def test_our_validator_and_a_full_one_agree(case):
    action, metadata = case
    schema = STATEMENTS[action].metadata
    assert schema is not None
    ours = misfit(schema, metadata, "metadata") is None
    assert ours == jsonschema.Draft202012Validator(schema).is_valid(metadata)
    if isinstance(metadata, dict):
        assert ours == JUDGE.is_valid({"action": action, "metadata": metadata})


def test_the_schema_of_statements_restricts_known_actions_only():
    assert JUDGE.is_valid({"action": "read"})
    assert JUDGE.is_valid({"action": "chain.heartbeat"})
    assert not JUDGE.is_valid({"action": "chain.heartbeat", "metadata": {}})
    assert not JUDGE.is_valid({"action": "store.expired"})
    kinds = {name: made["x-kind"] for name, made in statement_schemas()["$defs"].items()}
    assert kinds == {name: made.kind for name, made in STATEMENTS.items()}
