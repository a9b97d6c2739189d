"""Building an object of a segment, and accepting or refusing one that somebody else wrote."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealstream.archive import (
    ColumnMaker,
    ObjectBuilder,
    Start,
    check_object,
    leaf_hashes,
    read_groups,
    read_rows,
    sealed_table,
)
from sealstream.archive.building import unseal
from sealstream.archive.checking import ends, largest_object
from sealstream.errors import ChainBroken, Forked, NotCanonical
from sealstream.layout import SegmentLimits, decode_entry
from sealstream.layout.parquet import arrow_schema

DATA = Path(__file__).parent / "data"
MAKER = ColumnMaker()


def write(table: pa.Table, **options) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def test_an_object_holds_the_entries_and_their_hot_columns(made_chain, build_object) -> None:
    segment = made_chain.segments[0]
    data = build_object(made_chain, segment)
    table = pq.read_table(pa.BufferReader(data))
    assert table.schema.equals(arrow_schema())
    assert table["seq"].to_pylist() == list(range(20))
    for row, entry in zip(table.to_pylist(), segment.entries, strict=True):
        decoded = decode_entry(entry.body)
        assert row["body"].encode() == entry.body
        assert (row["prev_hash"], row["hash"]) == (entry.prev_hash, entry.hash)
        assert row["kind"] == decoded.written.kind
        assert row["sequenced_at"] == datetime.fromisoformat(decoded.written.sequenced_at).astimezone(UTC)
        assert row["timestamp"] == datetime.fromisoformat(decoded.timestamp).astimezone(UTC)
        for name in ("id", "actor_id", "actor_type", "action", "resource_type", "resource_id", "result"):
            assert row[name] == getattr(decoded, name)
        for name in ("ip_address", "session_id", "tenant"):
            assert row[name] == getattr(decoded, name)


def test_an_object_is_written_as_the_format_says(make_chain, build_object) -> None:
    chain = make_chain(limits=SegmentLimits(entries=60_000))
    chain.events(60_000, after_s=0.0001)
    file = pq.ParquetFile(pa.BufferReader(build_object(chain, chain.segments[0])))
    assert file.metadata.num_rows == 60_000
    assert file.num_row_groups == 4
    group = file.metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert [s.column_index for s in group.sorting_columns] == [file.schema_arrow.names.index("seq")]
    assert all(column.has_offset_index for column in columns.values())
    assert columns["seq"].has_column_index
    assert columns["seq"].statistics.max == 16_383
    with_filter = {name for name, column in columns.items() if column.to_dict().get("bloom_filter_length")}
    assert with_filter == {"actor_id", "resource_id"}


def test_building_the_same_segment_twice_gives_the_same_bytes(made_chain, build_object) -> None:
    segment = made_chain.segments[1]
    assert build_object(made_chain, segment) == build_object(made_chain, segment)


def test_how_entries_come_in_changes_nothing(made_chain, build_object) -> None:
    segment = made_chain.segments[1]
    builder = ObjectBuilder(segment.start, made_chain.limits, MAKER)
    for value in segment.values:
        builder.add([value])
        builder.add([])
    assert builder.finish() == build_object(made_chain, segment)
    builder.close()


@pytest.mark.parametrize("damage", ["body", "hash", "prev_hash", "swap", "drop", "repeat", "truncate", "empty"])
def test_entries_that_do_not_follow_are_refused(made_chain, damage: str) -> None:
    values = made_chain.segments[1].values
    if damage == "body":
        values[7] = values[7].replace(b'"success"', b'"failure"').replace(b'"denied"', b'"failure"')
    elif damage == "hash":
        values[7] = values[7][:-4] + (b"0" if values[7][-4:-3] != b"0" else b"1") + values[7][-3:]
    elif damage == "prev_hash":
        values[7] = values[7][:-100] + (b"0" if values[7][-100:-99] != b"0" else b"1") + values[7][-99:]
    elif damage == "swap":
        values[7], values[8] = values[8], values[7]
    elif damage == "drop":
        del values[7]
    elif damage == "repeat":
        values.insert(7, values[7])
    elif damage == "truncate":
        values[7] = values[7][:100]
    else:
        values[7] = b""
    segment = made_chain.segments[1]
    with pytest.raises(ChainBroken, match=r"entry (27|28)"):
        unseal(values, segment.start.hash, segment.first_seq)


def test_entries_of_another_chain_do_not_get_past_the_signed_root(make_chain) -> None:
    one, other = make_chain(), make_chain()
    one.events(30)
    other.events(30)
    builder = ObjectBuilder(other.segments[0].start, other.limits, MAKER)
    builder.add(other.segments[0].values)
    builder.finish()
    builder.close()
    with pytest.raises(Forked, match="Merkle root"):
        builder.fold.check_root(one.segments[0].signed)


# What other writers wrote


OPTIONS = {
    "snappy": {"compression": "snappy"},
    "no compression, one page index": {"compression": "none", "write_page_index": True},
    "row groups of 3": {"row_group_size": 3},
    "format 1.0": {"version": "1.0", "coerce_timestamps": "us"},
    "data pages 2.0": {"data_page_version": "2.0"},
    "no dictionaries": {"use_dictionary": False},
    "no Arrow schema": {"store_schema": False},
    "delta encodings": {"use_dictionary": False, "column_encoding": {"seq": "DELTA_BINARY_PACKED"}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_same_entries_written_otherwise_are_accepted(made_chain, build_object, options) -> None:
    segment = made_chain.segments[1]
    table = pq.read_table(pa.BufferReader(build_object(made_chain, segment)))
    data = write(table, **options)
    assert data != build_object(made_chain, segment)
    fold = check_object(data, segment.start, segment.signed, made_chain.limits, MAKER)
    assert fold.compact_range == segment.compact_range
    assert (fold.first_hash, fold.last_hash) == (segment.entries[0].hash, segment.entries[-1].hash)


def test_other_arrow_types_of_the_same_values_are_accepted(made_chain, build_object) -> None:
    segment = made_chain.segments[0]
    table = pq.read_table(pa.BufferReader(build_object(made_chain, segment)))
    other = pa.table(
        {
            name: (
                column.cast(pa.large_string())
                if name in ("body", "id")
                else column.dictionary_encode()
                if name == "action"
                else column.cast(pa.timestamp("ns", "UTC"))
                if name == "timestamp"
                else column
            )
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )
    check_object(write(other), segment.start, segment.signed, made_chain.limits, MAKER)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.parquet")), ids=lambda path: path.stem)
def test_an_object_of_another_version_of_pyarrow_is_accepted(fixed_chain, build_object, path: Path) -> None:
    segment = fixed_chain.segments[0]
    data = path.read_bytes()
    assert data != build_object(fixed_chain, segment)
    assert pa.__version__ not in pq.ParquetFile(path).metadata.created_by
    fold = check_object(data, segment.start, segment.signed, fixed_chain.limits, MAKER)
    assert fold.rows == 60


def test_there_are_objects_of_other_versions() -> None:
    assert len(list(DATA.glob("*.parquet"))) >= 2


def column_changes():
    """One changed value in each column."""
    return [
        ("body", lambda v: v.replace("a", "b", 1)),
        ("prev_hash", lambda v: bytes(32)),
        ("hash", lambda v: bytes(32)),
        ("seq", lambda v: v + 1),
        ("kind", lambda v: "control"),
        ("id", lambda v: v.upper()),
        ("timestamp", lambda v: v.replace(microsecond=1)),
        ("sequenced_at", lambda v: v.replace(microsecond=1)),
        ("actor_id", lambda v: "somebody-else"),
        ("actor_type", lambda v: "service"),
        ("action", lambda v: v + " "),
        ("resource_type", lambda v: ""),
        ("resource_id", lambda v: "patient-99"),
        ("result", lambda v: "failure"),
        ("ip_address", lambda v: None),
        ("session_id", lambda v: "s"),
        ("tenant", lambda v: ""),
    ]


@pytest.mark.parametrize(("name", "change"), column_changes(), ids=[name for name, _ in column_changes()])
@pytest.mark.parametrize("row", [0, 9, 19])
def test_one_differing_value_in_any_column_is_refused(made_chain, build_object, name, change, row) -> None:
    segment = made_chain.segments[1]
    table = pq.read_table(pa.BufferReader(build_object(made_chain, segment)))
    values = table[name].to_pylist()
    values[row] = change(values[row])
    table = table.set_column(
        table.column_names.index(name), table.schema.field(name), pa.array(values, table[name].type)
    )
    with pytest.raises(Forked):
        check_object(write(table), segment.start, segment.signed, made_chain.limits, MAKER)


@pytest.mark.parametrize("change", ["drop first", "drop last", "drop one", "swap", "repeat", "none", "column", "null"])
def test_other_rows_are_refused(made_chain, build_object, change: str) -> None:
    segment = made_chain.segments[1]
    table = pq.read_table(pa.BufferReader(build_object(made_chain, segment)))
    order = list(range(20))
    if change == "drop first":
        order = order[1:]
    elif change == "drop last":
        order = order[:-1]
    elif change == "drop one":
        order.remove(7)
    elif change == "swap":
        order[7], order[8] = order[8], order[7]
    elif change == "repeat":
        order[8] = 7
    elif change == "none":
        order = []
    table = table.take(pa.array(order, pa.int64()))
    if change == "column":
        table = table.drop_columns(["actor_id"])
    elif change == "null":
        index = table.column_names.index("hash")
        table = table.set_column(index, "hash", pa.nulls(20, pa.binary(32)))
    with pytest.raises(Forked):
        check_object(write(table), segment.start, segment.signed, made_chain.limits, MAKER)


def test_a_rehashed_history_is_refused(make_chain, build_object) -> None:
    """Everything consistent in itself, but not what was signed."""
    true, false = make_chain(), make_chain()
    true.events(30)
    false.event(actor_id="nobody")
    false.events(29)
    data = build_object(false, false.segments[0])
    with pytest.raises(Forked, match="Merkle root"):
        check_object(data, true.segments[0].start, true.segments[0].signed, true.limits, MAKER)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_hostile_bytes_end_in_an_alarm(made_chain, build_object, data) -> None:
    segment = made_chain.segments[0]
    good = build_object(made_chain, segment)
    hostile = bytearray(good)
    for _ in range(data.draw(st.integers(1, 5))):
        hostile[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(good), len(good) // 2, 12, 0]))
    try:
        fold = check_object(bytes(hostile[:cut]), segment.start, segment.signed, made_chain.limits, MAKER)
    except Forked:
        return
    assert fold.compact_range == segment.compact_range  # it hit what says nothing: a statistic, a filter, padding


def test_an_honest_object_is_never_too_large(make_chain, build_object) -> None:
    chain = make_chain(limits=SegmentLimits(entries=3, bytes=100_000))
    blob = "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(18_000))
    for _ in range(6):
        chain.event(metadata={"blob": blob})
    for segment in chain.segments:
        assert len(build_object(chain, segment)) < largest_object(chain.limits)


# Columns


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)


VALUE = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EVENT = st.fixed_dictionaries(
    {"actor_id": TEXT, "resource_id": TEXT, "metadata": st.dictionaries(TEXT, VALUE, max_size=4)},
    optional={"tenant": TEXT, "session_id": TEXT, "ip_address": TEXT},
)
FIXED = {
    "id": "i",
    "timestamp": "0001-01-01T00:00:00.000001Z",
    "actor_type": "user",
    "action": "written",
    "resource_type": "seq",
    "result": "success",
}
WRITTEN = {
    "chain": "main",
    "control_offset": -1,
    "kind": "event",
    "raw_offset": 0,
    "sequenced_at": "9999-12-31T23:59:59.999999Z",
    "v": 1,
}


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, min_size=1, max_size=8))
def test_columns_say_what_a_decoder_says(entries) -> None:
    bodies = [
        msgspec.json.encode({**entry, **FIXED, "written": {**WRITTEN, "seq": seq}}) for seq, entry in enumerate(entries)
    ]
    table = MAKER.table(sealed_table(bodies, bytes(32 * len(bodies)), bytes(32 * len(bodies))))
    for row, body in zip(table.to_pylist(), bodies, strict=True):
        decoded = decode_entry(body)
        for name in ("actor_id", "resource_id", "tenant", "session_id", "ip_address", "action", "resource_type"):
            assert row[name] == getattr(decoded, name)
        assert row["seq"] == decoded.written.seq
        assert row["timestamp"] == datetime(1, 1, 1, microsecond=1, tzinfo=UTC)
        assert row["sequenced_at"] == datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b"{}\n{}", b"\xff", b'{"id":"\xff"}'])
def test_a_body_that_is_no_entry_makes_no_columns(body: bytes) -> None:
    with pytest.raises(NotCanonical):
        MAKER.table(sealed_table([body], bytes(32), bytes(32)))


def test_rows_are_read_back_as_bytes(made_chain, build_object) -> None:
    segment = made_chain.segments[1]
    data = build_object(made_chain, segment)
    assert list(read_rows(data)) == [tuple(entry) for entry in segment.entries]
    assert next(read_rows(data, ["seq", "actor_id", "tenant"])) == (20, b"user-6", None)
    assert [h for table in read_groups(data) for h in leaf_hashes(table)] == [entry.hash for entry in segment.entries]
    assert ends(data) == (segment.entries[0], segment.entries[-1])


# Where segments end


def fold_of(chain, segment, entries):
    builder = ObjectBuilder(segment.start, chain.limits, MAKER)
    builder.add([entry.to_bytes() for entry in entries])
    builder.finish()
    builder.close()
    return builder.fold


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([0.0, 0.01, 5.0, 11.0, 50_000.0]), min_size=5, max_size=40))
def test_every_segment_that_the_cutter_makes_is_accepted_and_no_other(make_chain, gaps) -> None:
    chain = make_chain(limits=SegmentLimits(entries=7, bytes=3_000, seconds=10))
    for index, gap in enumerate(gaps):
        if index % 5 == 4:
            chain.log_entry("chain.heartbeat", after_s=gap)
        else:
            chain.event(after_s=gap)
    for segment in chain.segments:
        fold = fold_of(chain, segment, segment.entries)
        fold.check_root(segment.signed)
        assert fold.end == Start(segment.compact_range, segment.entries[-1].hash)
        after = fold.first_seq + fold.rows
        if not fold.ends_by_limits():
            assert day(chain.entries[after]) != day(segment.entries[-1])
        for length in range(1, len(segment.entries)):
            assert not fold_of(chain, segment, segment.entries[:length]).ends_by_limits()
        if after < len(chain.entries):
            with pytest.raises(ChainBroken):
                fold_of(chain, segment, [*segment.entries, chain.entries[after]]).ends_by_limits()


def day(entry) -> str:
    return decode_entry(entry.body).written.sequenced_at[:10]
