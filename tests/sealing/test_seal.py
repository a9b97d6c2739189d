"""The seal: one splice, a 154-byte suffix, and the same bytes whichever way they are made."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.errors import NotCanonical
from sealstream.sealing import (
    SEAL_BYTES,
    Sealed,
    Written,
    canonical_json,
    entry_body,
    entry_hash,
    genesis_hash,
    is_canonical,
    leaf_hash,
    read_written,
    seal,
    split_sealed,
)

TIME = "2026-11-24T03:00:00.000001Z"
EVENT = canonical_json({"action": "read", "id": "1", "user_agent": 'a","written":{"chain":"\ue000😀'})

chains = st.from_regex(r"[a-z0-9][a-z0-9-]{0,38}", fullmatch=True)
offsets = st.integers(-1, 2**53 - 1)
times = st.datetimes().map(lambda when: when.strftime("%Y").zfill(4) + when.strftime("-%m-%dT%H:%M:%S.%fZ"))
placed = st.builds(
    lambda chain, control, kind, raw, received, seq, time: Written(
        chain, control, kind, raw, None if kind == "log" else received, seq, time
    ),
    chains,
    offsets,
    st.sampled_from(["event", "control", "log"]),
    offsets,
    times,
    st.integers(0, 2**53 - 1),
    times,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
events = st.dictionaries(
    texts.filter(lambda name: name.encode("utf-16-be") < "written".encode("utf-16-be")),
    st.one_of(texts, st.dictionaries(st.sampled_from(["written", "chain", "hash", "b"]), texts)),
    min_size=1,
    max_size=4,
).map(canonical_json)


def test_the_bytes_of_a_seal() -> None:
    event = b'{"action":"read"}'
    written = Written("main", 4, "event", 17, TIME, 5, "2026-11-24T03:00:00.000002Z")
    body = (
        b'{"action":"read","written":{"chain":"main","control_offset":4,"kind":"event","raw_offset":17,'
        b'"received_at":"2026-11-24T03:00:00.000001Z","seq":5,"sequenced_at":"2026-11-24T03:00:00.000002Z","v":1}}'
    )
    prev_hash = genesis_hash("audit.example/main")
    assert prev_hash == sha256(b"audit.example/main").digest()
    sealed = seal(event, written, prev_hash)
    digest = sha256(b"\x00" + prev_hash + body).digest()
    assert sealed == (body, prev_hash, digest)
    assert digest == entry_hash(prev_hash, body) == leaf_hash(sealed.leaf)
    value = sealed.to_bytes()
    suffix = f',"prev_hash":"{prev_hash.hex()}","hash":"{digest.hex()}"}}'.encode()
    assert value == body[:-1] + suffix
    assert len(suffix) == SEAL_BYTES


@given(events, placed, st.binary(min_size=32, max_size=32))
def test_sealing_is_the_splice_of_the_canonical_entry(event: bytes, written: Written, prev_hash: bytes) -> None:
    body = entry_body(event, written)
    members = {name: value for name, value in written._asdict().items() if value is not None} | {"v": 1}
    assert body == canonical_json(json.loads(event) | {"written": members})
    assert is_canonical(body)
    assert read_written(body) == written
    sealed = seal(event, written, prev_hash)
    value = sealed.to_bytes()
    assert split_sealed(value) == sealed
    # As a reader in any language does it: drop the two keys and canonicalise.
    entry = json.loads(value)
    assert bytes.fromhex(entry.pop("prev_hash")) == prev_hash
    assert bytes.fromhex(entry.pop("hash")) == sealed.hash
    assert canonical_json(entry) == body


VALUE = seal(EVENT, Written("main", -1, "event", 0, TIME, 1, TIME), bytes(32)).to_bytes()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"}",
        VALUE[-SEAL_BYTES:],
        VALUE[:-1],
        VALUE + b"\n",
        VALUE[:-2] + b"F" + VALUE[-1:],
        VALUE[:-66].replace(b'"hash"', b'"Hash"') + VALUE[-66:],
        VALUE.replace(b',"prev_hash"', b', "prev_hash"'),
        VALUE.replace(b"0" * 64, b"0" * 63),
        VALUE.replace(b"0" * 64, b"A" * 64),
        VALUE[:-SEAL_BYTES] + b"}",
    ],
)
def test_a_suffix_of_any_other_form_is_no_seal(value: bytes) -> None:
    with pytest.raises(NotCanonical):
        split_sealed(value)


def test_splitting_does_not_verify() -> None:
    assert split_sealed(VALUE.replace(b'"read"', b'"rEad"')) == Sealed(
        entry_body(EVENT, Written("main", -1, "event", 0, TIME, 1, TIME)).replace(b'"read"', b'"rEad"'),
        bytes(32),
        split_sealed(VALUE).hash,
    )


WRITTEN = {"chain": "main", "control_offset": 0, "kind": "event", "raw_offset": 0, "seq": 1, "v": 1} | {
    "received_at": TIME,
    "sequenced_at": TIME,
}


def test_members_of_a_later_log_are_passed_over() -> None:
    body = canonical_json({"id": "1", "written": WRITTEN | {"node": "b", "zone": [1]}})
    assert read_written(body) == read_written(canonical_json({"id": "1", "written": WRITTEN}))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"v": 2}, "v"),
        ({"v": True}, "v"),
        ({"v": None}, "v"),
        ({"kind": "Event"}, "kind"),
        ({"kind": ["event"]}, "kind"),
        ({"seq": -1}, "seq"),
        ({"seq": "1"}, "seq"),
        ({"raw_offset": -2}, "raw_offset"),
        ({"control_offset": 1.5}, "control_offset"),
        ({"chain": None}, "chain"),
        ({"sequenced_at": "2026-11-24T03:00:00Z"}, "sequenced_at"),
        ({"sequenced_at": "2026-13-24T03:00:00.000000Z"}, "sequenced_at"),
        ({"sequenced_at": "2026-11-24T24:00:00.000000Z"}, "sequenced_at"),
        ({"sequenced_at": "2026-11-24T03:00:60.000000Z"}, "sequenced_at"),
        ({"sequenced_at": "0000-11-24T03:00:00.000000Z"}, "sequenced_at"),
        ({"received_at": "2026-02-29T03:00:00.000000Z"}, "received_at"),
        ({"received_at": None}, "received_at"),
        ({"kind": "log"}, "received_at"),
    ],
)
def test_a_member_that_is_not_as_it_must_be_is_named(changed: dict[str, object], named: str) -> None:
    with pytest.raises(NotCanonical, match=rf"written\.{named}"):
        read_written(canonical_json({"id": "1", "written": WRITTEN | changed}))


@pytest.mark.parametrize("missing", WRITTEN)
def test_a_member_that_is_missing_is_named(missing: str) -> None:
    members = {name: value for name, value in WRITTEN.items() if name != missing}
    with pytest.raises(NotCanonical, match=rf"written\.{missing}"):
        read_written(canonical_json({"id": "1", "written": members}))


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"1", b'{"written":1}', b'{"metadata":{"written":{"chain":"main"}}}', b"\xff", b"", b"}}"],
)
def test_what_is_no_entry_is_refused(body: bytes) -> None:
    with pytest.raises(NotCanonical):
        read_written(body)


def test_a_nested_written_is_not_the_entrys() -> None:
    nested = canonical_json({"id": "1", "metadata": {"a": {"written": WRITTEN}}})
    with pytest.raises(NotCanonical):
        read_written(nested)
    one_less = canonical_json({"metadata": {"written": WRITTEN}})
    with pytest.raises(NotCanonical):
        read_written(one_less)
