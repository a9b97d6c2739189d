"""A valid event, and the corpus of hostile ones: each with what becomes of it.

`hostile` is given to every test that asks for it, one case at a time: a `Refused` says which field's sentence and some
of its words, a `Changed` says which fields the canonical event then has (None: absent). `beyond` names what a JSON
Schema can't see, by its key in `BEYOND_THE_SCHEMA`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

BASE: dict[str, Any] = {
    "id": "0193a8f2-7c1e-7000-8000-0123456789ab",
    "timestamp": "2026-11-24T03:00:00.123456Z",
    "actor_id": "user-1",
    "actor_type": "user",
    "action": "read",
    "resource_type": "patient_record",
    "resource_id": "patient-456",
    "result": "success",
}
FULL: dict[str, Any] = BASE | {
    "on_behalf_of": "user-2",
    "ip_address": "2001:db8::1",
    "user_agent": "Mozilla/5.0",
    "session_id": "s-1",
    "trace_id": "t-1",
    "tenant": "st-mary",
    "reason": "treatment",
    "source": {"service": "api", "version": "1", "host": "h", "environment": "test", "authenticated_as": "svc"},
    "changed_fields": ["name"],
    "old_values": {"name": None, "n": [1, 2.5, {"x": []}]},
    "new_values": {"name": "Müller \U0001f600"},
    "metadata": {"http_status": 200, "duration_ms": 1.5},
    "producer_id": "p-1",
    "producer_seq": 0,
    "subject_id": "subject-1",
}


class Refused(NamedTuple):
    field: str
    words: str


class Changed(NamedTuple):
    fields: dict[str, Any]


class Hostile(NamedTuple):
    name: str
    data: bytes
    outcome: Refused | Changed
    beyond: str = ""


def sent(**changes: Any) -> bytes:
    """BASE with changes, as a careless producer sends it; `...` leaves a field out."""
    event = {name: value for name, value in (BASE | changes).items() if value is not ...}
    return json.dumps(event, ensure_ascii=False).encode()


def raw_metadata(text: str | bytes) -> bytes:
    """BASE with these very bytes as metadata."""
    text = text.encode() if isinstance(text, str) else text
    return sent()[:-1] + b', "metadata": ' + text + b"}"


def nested(levels: int, inner: str = "") -> str:
    """An object of `levels` nested objects and lists in turn."""
    opened = "".join('{"a":' if level % 2 == 0 else "[" for level in range(levels))
    closed = "".join("}" if level % 2 == 0 else "]" for level in reversed(range(levels)))
    return opened + (inner or "0") + closed


def sized(bytes_sent: int, canonical_overhead: str = "") -> bytes:
    """An event of exactly so many bytes, by its reason."""
    event = BASE | {"reason": canonical_overhead}
    data = json.dumps(event, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps(
        event | {"reason": canonical_overhead + "x" * (bytes_sent - len(data))},
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


def _number(literal: str, becomes: object) -> Hostile:
    return Hostile(f"number {literal[:20]}", raw_metadata(f'{{"x": {literal}}}'), Changed({"metadata": {"x": becomes}}))


def _no_number(literal: str, words: str = "out of range", field: str = "metadata.x") -> Hostile:
    return Hostile(f"number {literal[:20]} refused", raw_metadata(f'{{"x": {literal}}}'), Refused(field, words))


def _time(text: str, becomes: str) -> Hostile:
    return Hostile(f"time {text}", sent(timestamp=text), Changed({"timestamp": becomes}))


def _no_time(text: str, words: str, beyond: str = "") -> Hostile:
    return Hostile(f"time {text[:50]} refused", sent(timestamp=text), Refused("timestamp", words), beyond)


def _wrong(field: str, value: object, words: str) -> Hostile:
    data = sent(**{field: value})
    return Hostile(f"{field} as {json.dumps(value)[:40]}", data, Refused(field, words))


def _ip(text: str, becomes: str) -> Hostile:
    return Hostile(f"ip {text}", sent(ip_address=text), Changed({"ip_address": becomes}))


def _no_ip(text: str, words: str = "is not an IP address") -> Hostile:
    return Hostile(f"ip {text[:60]!r} refused", sent(ip_address=text), Refused("ip_address", words))


def _bytes(name: str, data: bytes, words: str = "is not acceptable JSON") -> Hostile:
    return Hostile(name, data, Refused("", words), "bytes")


def _limits() -> list[Hostile]:
    """Each field at its limit and one byte above, in ASCII and in two-byte characters."""
    limits = dict.fromkeys(("actor_id", "on_behalf_of", "resource_id", "session_id", "subject_id", "trace_id"), 512)
    limits |= dict.fromkeys(("action", "resource_type", "tenant"), 128)
    cases = []
    for field, limit in limits.items():
        for text, above, beyond in (("a" * limit, "a", ""), ("é" * (limit // 2), "a", "lengths")):
            cases += [
                Hostile(f"{field} of {limit} bytes ({text[0]})", sent(**{field: text}), Changed({field: text})),
                Hostile(
                    f"{field} of {limit + 1} bytes ({text[0]})",
                    sent(**{field: text + above}),
                    Refused(field, f"is {limit + 1} bytes of UTF-8 long"),
                    beyond,
                ),
            ]
    for name in ("service", "version", "host", "environment", "authenticated_as"):
        field = f"source.{name}"
        fits, too_long, wide = {name: "a" * 512}, {name: "a" * 513}, {name: "\U0001f600" * 128 + "a"}
        cases += [
            Hostile(f"{field} of 512 bytes", sent(source=fits), Changed({"source": fits})),
            Hostile(f"{field} of 513 bytes", sent(source=too_long), Refused(field, "is 513 bytes of UTF-8 long")),
            Hostile(f"{field} of 513 bytes, wide", sent(source=wide), Refused(field, "is 513 bytes"), "lengths"),
        ]
    numbered = {"producer_seq": 0}
    cases += [
        Hostile("producer_id 512", sent(producer_id="p" * 512, **numbered), Changed({"producer_id": "p" * 512})),
        Hostile("producer_id 513", sent(producer_id="p" * 513, **numbered), Refused("producer_id", "is 513 bytes")),
    ]
    return cases


def _corpus() -> list[Hostile]:
    required = list(BASE)
    deepest = json.loads(nested(31))
    return [
        # names that occur twice
        Hostile("name twice", sent()[:-1] + b', "action": "read"}', Refused("", "'action' occurs twice"), "names"),
        Hostile("name twice, null", sent()[:-1] + b', "tenant": null, "tenant": "a"}', Refused("", "twice"), "names"),
        Hostile("name twice, deep", raw_metadata('{"a":[{"b":1,"b":1}]}'), Refused("", "'b' occurs twice"), "names"),
        Hostile("name twice, escaped", raw_metadata('{"a":1,"\\u0061":1}'), Refused("", "occurs twice"), "names"),
        Hostile(
            "name twice, source",
            sent()[:-1] + b',"source":{"host":"a","host":"a"}}',
            Refused("", "'host' occurs twice"),
            "names",
        ),
        # text
        *(
            Hostile(f"lone surrogate {text}", raw_metadata(f'{{"x":"{text}"}}'), Refused("", "surrogate"), "surrogates")
            for text in ("\\ud800", "\\udc00", "\\udfff\\ud800", "a\\uDBFFb")
        ),
        Hostile("lone surrogate in a name", raw_metadata('{"\\ud800":1}'), Refused("", "surrogate"), "surrogates"),
        Hostile(
            "pair of surrogates", raw_metadata('{"x":"\\ud83d\\ude00"}'), Changed({"metadata": {"x": "\U0001f600"}})
        ),
        Hostile("NUL in a field", sent(actor_id="a\0"), Refused("actor_id", "U+0000")),
        Hostile("NUL in reason", sent(reason="\0"), Refused("reason", "U+0000")),
        Hostile("NUL in source", sent(source={"host": "\0"}), Refused("source.host", "U+0000")),
        Hostile("NUL in a list", sent(changed_fields=["a", "\0"]), Refused("changed_fields", "U+0000 in item 1")),
        Hostile("NUL in a value", sent(metadata={"x": ["\0"]}), Refused("metadata.x[0]", "U+0000")),
        Hostile("NUL in a name", sent(metadata={"x": {"\0": 1}}), Refused("metadata.x", "U+0000 in a name")),
        Hostile("NUL in an outer name", sent(new_values={"\0": 1}), Refused("new_values", "U+0000 in a name")),
        Hostile("no NUL but its text", sent(reason="\\u0000"), Changed({"reason": "\\u0000"})),
        Hostile(
            "other control characters",
            sent(reason="\x01\x1f\x7f\x80\u2028"),
            Changed({"reason": "\x01\x1f\x7f\x80\u2028"}),
        ),
        Hostile(
            "not normalised", sent(reason="e\u0301", tenant=" A "), Changed({"reason": "e\u0301", "tenant": " A "})
        ),
        Hostile(
            "names whose UTF-16 order differs",
            sent(metadata={"\uff5e": 1, "\U0001f600": 2, "\ue000": 3, "z": 4}),
            Changed({"metadata": {"z": 4, "\U0001f600": 2, "\ue000": 3, "\uff5e": 1}}),
        ),
        # bytes
        _bytes("BOM", b"\xef\xbb\xbf" + sent()),
        _bytes("overlong NUL", raw_metadata(b'{"x":"\xc0\x80"}')),
        _bytes("overlong slash", raw_metadata(b'{"x":"\xe0\x80\xaf"}')),
        _bytes("encoded surrogate", raw_metadata(b'{"x":"\xed\xa0\x80"}')),
        _bytes("beyond U+10FFFF", raw_metadata(b'{"x":"\xf4\x90\x80\x80"}')),
        _bytes("cut character", raw_metadata(b'{"x":"\xe2\x82"}')),
        _bytes("Latin-1", raw_metadata(b'{"x":"\xe9"}')),
        _bytes("UTF-16", sent().decode().encode("utf-16")),
        _bytes("two objects", sent() + sent()),
        _bytes("trailing comma", sent()[:-1] + b",}"),
        _bytes("comment", b"/**/" + sent()),
        _bytes("NUL byte after", sent() + b"\0"),
        _bytes("raw newline in text", raw_metadata(b'{"x":"a\nb"}')),
        _bytes("NaN", raw_metadata('{"x":NaN}')),
        _bytes("-Infinity", raw_metadata('{"x":-Infinity}')),
        _bytes("leading zero", raw_metadata('{"x":01}')),
        _bytes("plus sign", raw_metadata('{"x":+1}')),
        _bytes("single quotes", b"{'a':1}"),
        _bytes("nothing", b"", "event is empty"),
        _bytes("space", b"  "),
        Hostile("a list", b"[]", Refused("", "event is not an object: expected a JSON object, got a list")),
        Hostile("null", b"null", Refused("", "got null")),
        Hostile("a text", b'"x"', Refused("", "got text")),
        Hostile("an empty object", b"{}", Refused("id", "id is missing: expected a UUID")),
        Hostile("white space around", b"\r\n\t " + sent() + b"\n", Changed({})),
        # numbers
        _number("1.0", 1),
        _number("1e3", 1000),
        _number("1E+2", 100),
        _number("-0", 0),
        _number("-0.0", 0),
        _number("-1e-400", 0),
        _number("1e-7", 1e-7),
        _number("1.5e-5", 1.5e-5),
        _number("0.10", 0.1),
        _number("5e-324", 5e-324),
        _number("9007199254740991", 2**53 - 1),
        _number("-9007199254740991.0", -(2**53) + 1),
        _number("9007199254740991.4", 2**53 - 1),
        _number("4503599627370495.5", 4503599627370495.5),
        _number("0.9999999999999999999999", 1),
        _number("0." + "3" * 10_000, 1 / 3),
        _no_number("9007199254740992"),
        _no_number("-9007199254740992"),
        _no_number("9007199254740992.0"),
        _no_number("9007199254740991.6"),
        _no_number("1e16"),
        _no_number("1e20"),
        _no_number("1e21"),
        _no_number("100000000000000000000"),
        _no_number("-1e300"),
        _no_number("1e400", "is not acceptable JSON", ""),
        _no_number("-1e400", "is not acceptable JSON", ""),
        _no_number("1" * 4300, "got an integer of 14282 bits; send larger numbers as text"),
        _no_number("1" * 50_000, "is not acceptable JSON", ""),
        _no_number("-" + "9" * 50_000 + ".5", "is not acceptable JSON", ""),
        # nesting
        Hostile("nesting of 32", raw_metadata(nested(31)), Changed({"metadata": deepest})),
        Hostile("nesting of 33", raw_metadata(nested(32)), Refused("metadata", "nested too deep")),
        Hostile("nesting of 32, empty list", raw_metadata(nested(30, "[]")), Changed({})),
        Hostile("nesting of 33, empty object", raw_metadata(nested(31, "{}")), Refused("metadata", "nested too deep")),
        Hostile("many containers side by side", sent(old_values={"a": [[]] * 100}), Changed({})),
        Hostile("60,000 brackets", b"[" * 60_000, Refused("", "event is"), "bytes"),
        Hostile("60,000 brackets inside", raw_metadata(b'{"a":' + b"[" * 60_000), Refused("", "event is"), "bytes"),
        Hostile(
            "30,000 levels",
            raw_metadata(b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
            Refused("", "nested too deep"),
            "bytes",
        ),
        # sizes
        Hostile("61,440 bytes", sized(61_440), Changed({})),
        Hostile("61,441 bytes", sized(61_441), Refused("", "at most 61440 bytes, got 61441"), "size"),
        Hostile("61,441 bytes, one of them white space", sized(61_440) + b" ", Refused("", "got 61441"), "size"),
        Hostile(
            "grows to 61,440 by its time",
            sized(61_440).replace(b".123456Z", b".123Z").replace(b'xxxxxxx"', b'xxxxxxx"'),
            Changed({"timestamp": "2026-11-24T03:00:00.123000Z"}),
        ),
        Hostile(
            "grows to 61,441 by its time",
            sized(61_441).replace(b".123456Z", b".123Z"),
            Refused("", "too large in canonical form: expected at most 61440 bytes, got 61441"),
            "size",
        ),
        Hostile(
            "grows by a number",
            sized(61_440)[:-1].replace(b'"reason":"x', b'"reason":"') + b',"metadata":{"a":1e5}}',
            Refused("", "at most 61440"),
            "size",
        ),
        Hostile(
            "shrinks to fit no more than it was sent",
            b" " * 61_400 + sent(),
            Refused("", "too large: expected"),
            "size",
        ),
        Hostile(
            "escapes shrink",
            sent(reason=...)[:-1] + b',"reason":"' + b"\\u0061" * 10_000 + b'"}',
            Changed({"reason": "a" * 10_000}),
        ),
        # what only the log writes, and unknown fields
        *(
            Hostile(f"{name} sent", sent(**{name: value}), Refused(name, "written by the log alone"))
            for name, value in {
                "written": {"seq": 1},
                "kind": "log",
                "seq": 1,
                "hash": "0" * 64,
                "prev_hash": None,
            }.items()
        ),
        Hostile("unknown field", sent(actorId="a"), Refused("actorId", "actorId is not a known field")),
        Hostile("unknown field, null", sent(foo=None), Refused("foo", "is not a known field")),
        Hostile(
            "unknown field, hostile name",
            sent(**{"\n\x1b[2J\u202e" * 99: 1}),
            Refused((r"\n\x1b[2J\u202e" * 4)[:48] + "...", "not a known"),
        ),
        Hostile("empty name", sent(**{"": 1}), Refused("", "is not a known field")),
        Hostile("case of a field", sent(ID="x"), Refused("ID", "is not a known field")),
        Hostile("unknown field in source", sent(source={"name": "a"}), Refused("source.name", "is not a known field")),
        # absent, null, empty
        *(
            Hostile(f"{name} missing", sent(**{name: ...}), Refused(name, f"{name} is missing: expected"))
            for name in required
        ),
        *(
            Hostile(f"{name} null", sent(**{name: None}), Refused(name, f"{name} is null: expected"))
            for name in required
        ),
        *(Hostile(f"{name} empty", sent(**{name: ""}), Refused(name, f"{name} is")) for name in required),
        *(
            Hostile(f"{name} null", sent(**{name: None}), Changed({name: None}))
            for name in FULL
            if name not in BASE and not name.startswith("producer")
        ),
        *(
            Hostile(f"{name} empty", sent(**{name: ""}), Changed({name: ""}))
            for name in ("on_behalf_of", "user_agent", "session_id", "trace_id", "tenant", "reason", "subject_id")
        ),
        Hostile(
            "empty containers",
            sent(source={}, metadata={}, changed_fields=[]),
            Changed({"source": {}, "metadata": {}, "changed_fields": []}),
        ),
        Hostile(
            "null in source is absent",
            sent(source={"host": None, "service": "a"}),
            Changed({"source": {"service": "a"}}),
        ),
        Hostile(
            "null inside objects is kept",
            sent(metadata={"a": None, "b": [None]}),
            Changed({"metadata": {"a": None, "b": [None]}}),
        ),
        _wrong("ip_address", "", "is not an IP address"),
        # producer_id and producer_seq
        Hostile(
            "producer_id alone",
            sent(producer_id="p"),
            Refused("producer_seq", "producer_seq is missing: expected beside producer_id"),
        ),
        Hostile(
            "producer_seq alone",
            sent(producer_seq=0),
            Refused("producer_id", "producer_id is missing: expected beside producer_seq"),
        ),
        Hostile("producer_seq null", sent(producer_id="p", producer_seq=None), Refused("producer_seq", "is missing")),
        Hostile(
            "both null", sent(producer_id=None, producer_seq=None), Changed({"producer_id": None, "producer_seq": None})
        ),
        Hostile("producer_id empty", sent(producer_id="", producer_seq=0), Refused("producer_id", "is empty")),
        *(
            Hostile(
                f"producer_seq {number}",
                sent(producer_id="p", producer_seq=number),
                Changed({"producer_seq": int(number)}),
            )
            for number in (0, 1, 2**53 - 1, 5.0, -0.0)
        ),
        *(
            Hostile(
                f"producer_seq {number!r}", sent(producer_id="p", producer_seq=number), Refused("producer_seq", words)
            )
            for number, words in (
                (-1, "is no count: expected an integer from 0 to 9007199254740991, got -1"),
                (2**53, "out of range"),
                (1.5, "is no count"),
                (True, "is a boolean"),
                ("0", "is text"),
                ([], "is a list"),
            )
        ),
        # wrong types
        *(
            _wrong(field, 5, "is a number: expected text")
            for field in ("actor_id", "action", "resource_id", "tenant", "reason")
        ),
        _wrong("actor_id", True, "is a boolean: expected text of 1 to 512 bytes, got true"),
        _wrong("resource_id", ["a"], "is a list: expected text of 1 to 512 bytes, got a list"),
        _wrong("reason", {"a": 1}, "is an object"),
        _wrong("actor_type", "robot", "expected one of user, service, admin, system, anonymous, got 'robot'"),
        _wrong("actor_type", "User", "is none of its values"),
        _wrong("actor_type", 1, "is none of its values"),
        _wrong("actor_type", ["user"], "is none of its values"),
        _wrong("result", "ok", "expected one of success, failure, denied, got 'ok'"),
        _wrong("result", False, "got false"),
        _wrong("source", "api", "is text: expected an object of service"),
        _wrong("source", [], "is a list"),
        _wrong("changed_fields", "name", "is text: expected a list of text"),
        _wrong("changed_fields", ["a", 1], "has a number as item 1"),
        _wrong("changed_fields", ["a", None], "has null as item 1"),
        _wrong("changed_fields", {"a": 1}, "is an object"),
        *(_wrong(field, "x", "is text: expected an object") for field in ("old_values", "new_values", "metadata")),
        _wrong("metadata", [1], "is a list: expected an object, got a list"),
        _wrong("metadata", False, "is a boolean"),
        Hostile("source of numbers", sent(source={"version": 1}), Refused("source.version", "is a number")),
        # id
        Hostile("id in capitals", sent(id=BASE["id"].upper()), Changed({"id": BASE["id"]})),
        *(
            Hostile(f"id {text}", sent(id=text), Changed({"id": text}))
            for text in ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")
        ),
        *(
            _wrong("id", text, "id is not a UUID: expected a UUID such as")
            for text in (
                BASE["id"].replace("-", ""),
                f"{{{BASE['id']}}}",
                f"urn:uuid:{BASE['id']}",
                BASE["id"] + "\n",
                BASE["id"][:-1] + "g",
                BASE["id"][:-1] + "\u0661",
                "1" * 36,
                7,
            )
        ),
        # timestamp
        _time("2026-11-24T03:00:00Z", "2026-11-24T03:00:00.000000Z"),
        _time("2026-11-24T03:00:00.5Z", "2026-11-24T03:00:00.500000Z"),
        _time("2026-11-24t03:00:00.123456z", "2026-11-24T03:00:00.123456Z"),
        _time("2026-11-24T03:00:00+14:00", "2026-11-23T13:00:00.000000Z"),
        _time("2026-11-24T03:00:00-00:00", "2026-11-24T03:00:00.000000Z"),
        _time("2026-11-24T03:00:00-23:59", "2026-11-25T02:59:00.000000Z"),
        _time("2024-02-29T23:59:59.999999-12:00", "2024-03-01T11:59:59.999999Z"),
        _time("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        _time("0001-01-01T14:00:00+14:00", "0001-01-01T00:00:00.000000Z"),
        _time("0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00.000000Z"),
        _time("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        _no_time("0001-01-01T00:00:00+14:00", "years 0001 to 9999 in UTC", "years"),
        _no_time("0000-12-31T23:59:59Z", "years 0001 to 9999 in UTC", "years"),
        _no_time("9999-12-31T23:59:59-00:01", "years 0001 to 9999 in UTC", "years"),
        _no_time("0000-06-01T00:00:00Z", "years 0001 to 9999 in UTC"),
        _no_time("0000-02-29T00:00:00-23:00", "years 0001 to 9999 in UTC"),
        _no_time("10000-01-01T00:00:00Z", "is not a timestamp"),
        _no_time("2026-11-24T03:00:00", "has no offset: expected RFC 3339 with Z or +hh:mm, got '2026-11-24T03:00:00'"),
        _no_time("2026-11-24T03:00:00.1234567Z", "has 7 fraction digits"),
        _no_time("2026-11-24T03:00:00." + "1" * 50_000 + "Z", "has 50000 fraction digits"),
        _no_time("2026-11-24T03:00:00.Z", "has 0 fraction digits"),
        _no_time("2026-11-24T03:00:00,5Z", "is not a timestamp"),
        _no_time("2016-12-31T23:59:60Z", "is a leap second"),
        _no_time("2026-11-24T24:00:00Z", "is no time of day"),
        _no_time("2026-11-24T03:60:00Z", "is no time of day"),
        _no_time("2026-11-24T03:00:61Z", "is no time of day"),
        _no_time("2026-02-29T03:00:00Z", "is no date of the calendar"),
        _no_time("1900-02-29T03:00:00Z", "is no date of the calendar"),
        _no_time("2026-13-01T03:00:00Z", "is no date of the calendar"),
        _no_time("2026-04-31T03:00:00Z", "is no date of the calendar"),
        _no_time("2026-00-10T03:00:00Z", "is no date of the calendar"),
        _no_time("2026-11-24T03:00:00+24:00", "has an impossible offset"),
        _no_time("2026-11-24T03:00:00+01:60", "has an impossible offset"),
        _no_time("2026-11-24T03:00:00+0100", "is not a timestamp"),
        _no_time("2026-11-24T03:00:00+01", "is not a timestamp"),
        _no_time("2026-11-24 03:00:00Z", "is not a timestamp"),
        _no_time("2026-11-24", "is not a timestamp"),
        _no_time("2026-11-24T03:00Z", "is not a timestamp"),
        _no_time("20261124T030000Z", "is not a timestamp"),
        _no_time("2026-W48-2T03:00:00Z", "is not a timestamp"),
        _no_time("-026-11-24T03:00:00Z", "is not a timestamp"),
        _no_time("2026-11-24T03:00:00Z\n", "is not a timestamp"),
        _no_time(" 2026-11-24T03:00:00Z", "is not a timestamp"),
        _no_time("２０２６-11-24T03:00:00Z", "is not a timestamp"),
        _no_time("2026-11-24T03:00:00\u2212 01:00", "is not a timestamp"),
        _wrong("timestamp", 1764000000, "is a number: expected RFC 3339"),
        # ip_address
        _ip("203.0.113.7", "203.0.113.7"),
        _ip("0.0.0.0", "0.0.0.0"),
        _ip("255.255.255.255", "255.255.255.255"),
        _ip("::", "::"),
        _ip("::1", "::1"),
        _ip("1::", "1::"),
        _ip("2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        _ip("2001:0db8::0001", "2001:db8::1"),
        _ip("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        _ip("2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        _ip("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
        _ip("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        _ip("::ffff:192.0.2.1", "192.0.2.1"),
        _ip("::FFFF:c000:0201", "192.0.2.1"),
        _ip("0:0:0:0:0:ffff:0:0", "0.0.0.0"),
        _ip("::ffff:0:0", "0.0.0.0"),
        _ip("::ffff:0:0:0", "::ffff:0:0:0"),
        _ip("::1.2.3.4", "::102:304"),
        _ip("::0.0.0.1", "::1"),
        _ip("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        _ip("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
        *(
            _no_ip(text)
            for text in (
                "1.2.3",
                "1.2.3.4.5",
                "256.1.1.1",
                "01.2.3.4",
                "1.2.3.04",
                "0x7f.0.0.1",
                "2130706433",
                "1.2.3.4 ",
                "1.2.3.4\n",
                "١.2.3.4",
                "1.2.3.4:80",
                "[::1]",
                ":::",
                "1:::2",
                "1::2::3",
                ":1:2:3:4:5:6:7",
                "1:2:3:4:5:6:7:",
                "1:2:3:4:5:6:7",
                "1:2:3:4:5:6:7:8:9",
                "1:2:3:4::5:6:7:8",
                "12345::",
                "g::",
                "::1.2.3.256",
                "::01.2.3.4",
                "1.2.3.4::",
                "::1.2.3.4:5",
                "1:2:3:4:5:6:7:1.2.3.4",
                "::\u0661",
                "localhost",
                ":",
                "1" * 50_000,
            )
        ),
        _no_ip("fe80::1%eth0", "has a zone"),
        _no_ip("fe80::1%25eth0", "has a zone"),
        _no_ip("10.0.0.0/8", "is a network"),
        _wrong("ip_address", 2130706433, "is a number"),
        *_limits(),
    ]


CORPUS = _corpus()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hostile" in metafunc.fixturenames:
        metafunc.parametrize("hostile", CORPUS, ids=[case.name for case in CORPUS])


@pytest.fixture
def corpus() -> list[Hostile]:
    return CORPUS


@pytest.fixture
def base() -> dict[str, Any]:
    return dict(BASE)


@pytest.fixture
def full() -> dict[str, Any]:
    return json.loads(json.dumps(FULL))
