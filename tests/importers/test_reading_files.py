"""Whatever stands in a file, what can be read is read, and what can't is said in its place."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.events import MAX_EVENT_BYTES
from sealstream.importers import IMPORTERS, BrokenFile, Composer, Event, Importer, Record, Unreadable, records_of
from sealstream.sealing import canonical_json

CLOUDTRAIL = IMPORTERS["cloudtrail"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=20), each, max_size=4),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=20), VALUES, max_size=5), max_size=6)
RECORDS.validate()  # Unicode's tables, which a first run has to make, are made now and not within the first example
ANYTHING = Importer(
    "anything",
    "json",
    lambda record: {
        "timestamp": "2026-11-24T03:00:00Z",
        "actor_id": "a",
        "actor_type": "user",
        "action": "b",
        "resource_type": "c",
        "resource_id": "d",
        "result": "success",
    },
    lists=("Records",),
)


def read(data: bytes | Iterable[bytes], importer: Importer = CLOUDTRAIL) -> list[Record | Unreadable]:
    return list(records_of([data] if isinstance(data, bytes) else data, importer))


def values(found: Iterable[Record | Unreadable]) -> list[Any]:
    return [each.value if isinstance(each, Record) else f"{each.line}: {each.why}" for each in found]


@settings(max_examples=40)
@given(RECORDS, st.integers(1, 50), st.booleans())
def test_every_form_of_a_file_gives_the_same_records(records: list[dict[str, Any]], size: int, packed: bool) -> None:
    forms = [
        json.dumps(records),
        json.dumps(records, indent=3),
        json.dumps({"Records": records}),
        json.dumps({"Records": records}, indent=1),
        "\n".join(map(json.dumps, records)),
        "\r\n\r\n".join(json.dumps(each, ensure_ascii=False) for each in records) + "\r\n",
    ]
    for form in forms:
        data = form.encode("utf-8", "surrogatepass")
        if packed:
            data = gzip.compress(data[:size]) + gzip.compress(data[size:])
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        if records and "Records" not in records[0]:
            found = read(chunks)
            assert values(found) == records
            assert [each.number for each in found] == list(range(1, len(records) + 1))


@settings(max_examples=40)
@given(RECORDS)
def test_every_record_that_is_an_object_can_be_kept(records: list[dict[str, Any]]) -> None:
    composer = Composer(ANYTHING)
    for found in read("\n".join(map(json.dumps, records)).encode(), ANYTHING):
        if isinstance(found, Record):
            event = composer.event(found)
            assert isinstance(event, Event)
            source = json.loads(event.value)["metadata"]["source"]
            assert (json.loads(source) if isinstance(source, str) else source) == found.value


@pytest.mark.parametrize("indent", [None, 1])
def test_large_documents(indent: int | None) -> None:
    records: list[dict[str, Any]] = [{"n": n, "text": "x" * 100} for n in range(2_000)]
    for document in (records, {"Records": records}, {"before": {"Records": []}, "Records": records}):
        assert values(read(json.dumps(document, indent=indent).encode())) == records
    for alone in ({"text": "x" * 100_000}, {"Records": {"a": "x" * 100_000}}, {"Records": "[" + "x" * 100_000}):
        assert values(read(json.dumps(alone, indent=indent).encode())) == [alone]


def test_places_are_those_of_the_file() -> None:
    found = read(json.dumps([{"a": 1}, {"b": [1, 2]}, {"c": 3}], indent=1).encode())
    assert [each.line for each in found] == [2, 5, 11]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b'{"a":1}\n{oops\n{"b":2}', [{"a": 1}, "2: not JSON: Expecting property name", {"b": 2}]),
        (b'{oops\n{"b":2}\n{"c":3}', ["1: not JSON", {"b": 2}, {"c": 3}]),
        (b'{oops\nno\n{"b":2}\n{"c":3}', ["1: not JSON", "2: not JSON", {"b": 2}, {"c": 3}]),
        (b'"u":1,"lines":[1,\n{"b":2}\n{"c":3}', ["u", "1: not JSON", {"b": 2}, {"c": 3}]),
        (b'{"u":1,\n{"b":2}\n{"c":3}', ["2: not JSON", {"b": 2}, {"c": 3}]),
        (b'{"a":{\n  "b":[\n  {"c":1},\n oops\n]}}\n', ["4: not JSON"]),
        (b'[\n{"a":1},\n{"b":\n', [{"a": 1}, "3: not JSON"]),
        (b'{"Records": [{"a":1}, {"b"', [{"a": 1}, "1: not JSON"]),
        (b'{"a":\n1}\n{"b":\n2}', [{"a": 1}, {"b": 2}]),
        (b'[{"a":1}]\n[{"b":2},{"c":3}]', [{"a": 1}, {"b": 2}, {"c": 3}]),
        (b'\xef\xbb\xbf{"a":1}', [{"a": 1}]),
        (b"", []),
        (b"\n\n", []),
        (b"no json at all", ["1: not JSON"]),
        (b'{"a":NaN}', ["1: not JSON: NaN"]),
        (b'{"a":"\xff"}\n{"b":2}', ["1: not JSON: byte", {"b": 2}]),
        (b"[" * 100_000, ["1: not JSON"]),
    ],
    ids=lambda each: repr(each)[:30] if isinstance(each, bytes) else "",
)
def test_broken_json(data: bytes, wanted: list[Any]) -> None:
    found = values(read(data))
    assert len(found) == len(wanted), found
    for got, want in zip(found, wanted, strict=True):
        assert got == want or (isinstance(want, str) and str(got).startswith(want)), found


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ('1,"x', ["2: not CSV"]),
        ('1,"x"y', ["2: not CSV"]),
        ('1,"x\n1,2,"3', ["2: not CSV", "3: not CSV"]),
        ("1", ["2: has 1 columns"]),
    ],
)
@pytest.mark.parametrize("behind", [3, 1_500])
def test_a_row_of_csv_that_is_none_costs_itself_alone(broken: str, said: list[str], behind: int) -> None:
    rows = [{"a": str(n), "b": 'two\nlines "quoted"' if n == 2 else "y"} for n in range(behind)]
    texts = ['2,"two\nlines ""quoted"""' if row["b"] != "y" else f"{row['a']},y" for row in rows]
    data = "\n".join(["a,b", broken, *texts]).encode()
    found = values(list(records_of([data], Importer("csv", "csv", dict))))
    assert [each for each in found if isinstance(each, dict)] == rows
    refused = [each for each in found if isinstance(each, str)]
    assert len(refused) == len(said)
    assert all(got.startswith(want) for got, want in zip(refused, said, strict=True)), refused


@pytest.mark.parametrize(
    ("behind", "said"),
    [(b"behind", "data stands behind the gzip stream"), (b"\x1f\x8bbroken..........", "the gzip stream is broken")],
)
def test_a_gzip_file_with_something_behind_it_is_read_up_to_there(behind: bytes, said: str) -> None:
    records = records_of([gzip.compress(b'{"a":1}\n{"b":2}\n') + behind], CLOUDTRAIL)
    assert values([next(records)]) == [{"a": 1}]
    with pytest.raises(BrokenFile, match=said):
        list(records)


def test_a_gzip_file_that_is_cut_off_and_one_that_is_filled_up() -> None:
    data = gzip.compress(b"\n".join(b'{"a":%d}' % n for n in range(1_000)))
    with pytest.raises(BrokenFile, match="cut off"):
        read(data[:-20])
    assert len(read(data + b"\0" * 512)) == 1_000


@pytest.mark.parametrize("end", [b"]}", b"]}\n"])
def test_of_a_document_in_one_line_that_is_cut_off_the_whole_records_are_read(end: bytes) -> None:
    whole = [{"a": n, "b": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(1_000)]  # does not pack well
    data = gzip.compress(b'{"Records":[' + b",".join(canonical_json(each) for each in whole) + end)
    for cut in (b"", b"behind"):
        found: list[Any] = []
        with pytest.raises(BrokenFile, match="behind" if cut else "cut off"):
            found.extend(records_of([data + cut if cut else data[: len(data) // 2]], CLOUDTRAIL))
        read = [each.value for each in found if isinstance(each, Record)]
        assert read == whole[: len(read)]
        assert len(read) > 300
        assert len(read) == 1_000 or isinstance(found[-1], Unreadable)
    # A line of text does not say whether it is whole: a torn one is none.
    torn = gzip.compress(b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() + b"\n" for n in range(1_000)))[:-200]
    lines: list[Any] = []
    with pytest.raises(BrokenFile, match="cut off"):
        lines.extend(records_of([torn], Importer("lines", "lines", dict)))
    assert {len(each.value) for each in lines} == {64}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}',  # one name twice
        b'{"a":"\\ud800"}',  # half a surrogate pair
        b'{"a":12345678901234567890}',  # no event may hold that number
        b'{"a":1e400}',
        b'{"a":"\\u0000"}',
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    ],
)
def test_what_an_event_cannot_hold_is_kept_as_text(raw: bytes) -> None:
    (record,) = read(raw, ANYTHING)
    assert isinstance(record, Record)
    event = Composer(ANYTHING).event(record)
    assert isinstance(event, Event)
    assert json.loads(event.value)["metadata"]["source"] == raw.decode()


def test_a_record_that_is_too_large_is_kept_by_its_hash() -> None:
    (record,) = read(json.dumps({"a": "x" * MAX_EVENT_BYTES}).encode(), ANYTHING)
    assert isinstance(record, Record)
    event = Composer(ANYTHING).event(record)
    assert isinstance(event, Event)
    metadata = json.loads(event.value)["metadata"]
    assert metadata.keys() == {"importer", "source_sha256", "source_bytes"}
    assert metadata["source_bytes"] == len(record.raw)


def test_the_hash_does_not_depend_on_how_a_record_is_spelled() -> None:
    tight, loose = read(b'{"a":1,"b":"\xc3\xa9"}\n{ "b": "\\u00e9", "a": 1.0 }', ANYTHING)
    assert isinstance(tight, Record)
    assert isinstance(loose, Record)
    one, two = Composer(ANYTHING).event(tight), Composer(ANYTHING).event(loose)
    assert isinstance(one, Event)
    assert isinstance(two, Event)
    assert one.source_sha256 == two.source_sha256
