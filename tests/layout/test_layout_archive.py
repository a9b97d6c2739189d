"""Names, rows and manifests of the archive."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.errors import NotCanonical
from sealstream.layout import HOT_COLUMNS
from sealstream.layout.archive import SegmentName, archive_prefix, archived_statement_id, parse_archive_key
from sealstream.layout.manifests import Manifest, parse_manifest
from sealstream.layout.parquet import PARQUET_COLUMNS, arrow_schema, parquet_writer_options
from sealstream.sealing import canonical_json, parse_json

NAME = SegmentName("main", "2026-11-24", 0, 99_999)
MANIFEST = Manifest(
    origin="audit.example.com/clinic/main",
    chain="main",
    object=NAME.object_key,
    object_version="v1",
    object_sha256=b"\1" * 32,
    rows=100_000,
    first_seq=0,
    last_seq=99_999,
    first_hash=b"\2" * 32,
    last_hash=b"\3" * 32,
    first_sequenced_at="2026-11-24T03:00:00.000000Z",
    last_sequenced_at="2026-11-24T03:05:00.000000Z",
    retain_until="2027-11-25T03:05:00.000000Z",
    start_range=(),
    end_range=(b"\4" * 32,) * (100_000).bit_count(),
    checkpoint="a note\n",
)


def test_keys_are_as_the_format_says() -> None:
    assert NAME.object_key == ("entries/chain=main/date=2026-11-24/00000000000000000000-00000000000000099999.parquet")
    assert NAME.manifest_key == ("manifests/chain=main/date=2026-11-24/00000000000000000000-00000000000000099999.json")
    assert archive_prefix("entries", "main") == "entries/chain=main/"


@given(st.integers(0, 2**53), st.integers(0, 10**6), st.dates())
def test_a_key_names_its_segment(first, more, day) -> None:
    name = SegmentName("phi-0", day.isoformat(), first, first + more)
    assert parse_archive_key(name.object_key) == ("entries", name)
    assert parse_archive_key(name.manifest_key) == ("manifests", name)


@pytest.mark.parametrize(
    "key",
    [
        "",
        NAME.object_key + "x",
        "x" + NAME.object_key,
        NAME.object_key + "\n",
        NAME.object_key.replace(".parquet", ".json"),
        NAME.manifest_key.replace(".json", ".parquet"),
        NAME.object_key.replace("00000000000000000000-", "0-"),
        NAME.object_key.replace("chain=main", "chain=Main"),
        "entries/chain=main/date=2026-11-24/00000000000000000009-00000000000000000008.parquet",
        NAME.object_key.replace("entries", "manifests"),
    ],
)
def test_other_keys_name_nothing(key: str) -> None:
    assert parse_archive_key(key) is None


def test_keys_sort_as_the_chain_does() -> None:
    names = [
        SegmentName("main", "2026-11-24", 0, 9),
        SegmentName("main", "2026-11-24", 10, 11),
        SegmentName("main", "2026-11-25", 12, 1_000_000),
    ]
    assert sorted(name.object_key for name in names) == [name.object_key for name in names]
    assert sorted(names) == names


def test_the_statements_id_is_the_uuid5_that_the_format_says() -> None:
    origin = "audit.example.com/clinic/main"
    namespace = uuid.uuid5(uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), origin)
    assert archived_statement_id(origin, NAME) == str(uuid.uuid5(namespace, "0-99999"))


def test_rows_have_the_hot_columns_once_and_in_order() -> None:
    assert [column.name for column in PARQUET_COLUMNS] == ["body", "prev_hash", "hash", *HOT_COLUMNS]
    assert arrow_schema().field("seq").type == "int64"
    assert [column.name for column in PARQUET_COLUMNS if column.nullable] == ["ip_address", "session_id", "tenant"]
    assert set(parquet_writer_options(10)["bloom_filter_options"]) == {"actor_id", "resource_id"}


def test_a_manifest_is_canonical_json_and_comes_back() -> None:
    data = MANIFEST.to_bytes()
    assert canonical_json(parse_json(data)) == data
    assert parse_manifest(data) == MANIFEST
    assert parse_json(data)["v"] == 1
    assert "previous_manifest_sha256" not in parse_json(data)
    following = MANIFEST._replace(previous_manifest_sha256=b"\5" * 32)
    assert parse_manifest(following.to_bytes()) == following
    assert MANIFEST.segment == NAME


def changed(**members: object) -> bytes:
    decoded = {**parse_json(MANIFEST.to_bytes()), **members}
    return canonical_json({name: value for name, value in decoded.items() if value is not ...})


@pytest.mark.parametrize(
    "members",
    [
        {"v": 2},
        {"v": True},
        {"v": ...},
        {"rows": 99_999},
        {"rows": -1},
        {"rows": "100000"},
        {"rows": True},
        {"first_hash": "00"},
        {"first_hash": "AB" * 32},
        {"object_sha256": ...},
        {"start_range": ["AAAA"]},
        {"start_range": "x"},
        {"start_range": ["é"]},
        {"end_range": []},
        {"retain_until": "2027-13-45T00:00:00.000000Z"},
        {"retain_until": "2027-01-01T00:00:00Z"},
        {"object": "entries/chain=main/date=2026-11-24/elsewhere.parquet"},
        {"object_version": ""},
        {"previous_manifest_sha256": None},
    ],
)
def test_a_manifest_that_is_not_one_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(NotCanonical, match="manifest"):
        parse_manifest(changed(**members))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"1", b"{", b"\xff", MANIFEST.to_bytes() + b"\n", b" " + MANIFEST.to_bytes()]
)
def test_bytes_that_are_no_canonical_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse_manifest(data)


def test_a_member_of_a_later_version_is_passed_over() -> None:
    assert parse_manifest(changed(witnesses=["w"])) == MANIFEST
