"""Canonical JSON against RFC 8785's published facts, the `rfc8785` package, and a reference written from the RFC."""

import json
import math
import struct
from decimal import Decimal

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sealstream.errors import NotCanonical
from sealstream.sealing import canonical_decoded, canonical_json, is_canonical, parse_json

MAX = 2**53 - 1

# RFC 8785 Appendix B: IEEE 754 bits and the ECMAScript text.
APPENDIX_B = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


# A reference from the text of RFC 8785 and ECMA-262 6.1.6.1.20, slow and by another way than either road.
def reference_number(number: int | float) -> str:
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(float(number))).normalize().as_tuple()
    k, n = len(digits), len(digits) + exponent
    text = "".join(map(str, digits))
    if k <= n <= 21:
        text += "0" * (n - k)
    elif 0 < n <= 21:
        text = text[:n] + "." + text[n:]
    elif -6 < n <= 0:
        text = "0." + "0" * -n + text
    else:
        text = text[0] + ("." + text[1:] if k > 1 else "") + f"e{n - 1:+d}"
    return "-" * sign + text


def reference_text(text: str) -> str:
    short = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    return '"' + "".join(short.get(ord(c)) or (f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in text) + '"'


def utf16_units(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [data[i] << 8 | data[i + 1] for i in range(0, len(data), 2)]


def reference(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return reference_number(value)
    if isinstance(value, str):
        return reference_text(value)
    if isinstance(value, list):
        return "[" + ",".join(map(reference, value)) + "]"
    members = sorted(value.items(), key=lambda member: utf16_units(member[0]))
    return "{" + ",".join(f"{reference_text(name)}:{reference(member)}" for name, member in members) + "}"


# Characters where escapes, UTF-16 order and UTF-8 lengths change, besides all others.
edges = st.sampled_from(
    '\x00\x01\x08\t\n\x0b\x0c\r\x1f "\\/\x7f\x80\xa0\u07ff\u0800\u2028'
    "\u2029\ud7ff\ue000\ufeff\ufffd\uffff\U00010000😀\U0010ffff"
)
texts = st.text(st.one_of(edges, st.characters(exclude_categories=["Cs"])), max_size=8)
integers = st.one_of(st.integers(-MAX, MAX), st.sampled_from([0, 1, -1, MAX, -MAX, 10**15, 999_999_999_999_999]))
floats = st.one_of(
    st.floats(-MAX, MAX),
    st.sampled_from(
        [-0.0, 1e-6, 9.999999999999997e-7, 1e-7, 5e-324, 2.2250738585072014e-308, 0.1, float(MAX), MAX - 0.5]
    ),
    st.integers(-400, 15).map(lambda exponent: float(f"1e{exponent}")),
    st.integers(-400, 15).map(lambda exponent: float(f"-1.5e{exponent}")),
)
plain = st.one_of(st.none(), st.booleans(), integers, texts)


def nested(leaves: st.SearchStrategy) -> st.SearchStrategy:
    return st.recursive(
        leaves, lambda children: st.one_of(st.lists(children, max_size=4), st.dictionaries(texts, children, max_size=5))
    )


values = nested(st.one_of(plain, floats))


@pytest.mark.parametrize(("bits", "expected"), APPENDIX_B)
def test_numbers_of_rfc_8785_appendix_b(bits: str, expected: str) -> None:
    number = struct.unpack(">d", bytes.fromhex(bits))[0]
    assert reference_number(number) == expected
    if abs(number) <= MAX:
        assert canonical_json(number) == expected.encode()
        assert parse_json(expected.encode()) == number
        assert is_canonical(expected.encode())
    else:
        with pytest.raises(NotCanonical):
            canonical_json(number)
        with pytest.raises(NotCanonical):
            parse_json(expected.encode())
        assert not is_canonical(expected.encode())


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        # RFC 8785 section 3.2.2, without its 1E30, which is beyond +-(2^53-1)
        (
            r'{"numbers": [4.50, 333333333.33333329, 2e-3, 0.000000000000000000000000001],'
            r'"string": "\u20ac$\u000F\u000aA' + "'" + r'\u0042\u0022\u005c\\\"\/","literals": [null, true, false]}',
            '{"literals":[null,true,false],"numbers":[4.5,333333333.3333333,0.002,1e-27],'
            '"string":"\u20ac$\\u000f\\nA' + "'" + 'B\\"\\\\\\\\\\"/"}',
        ),
        # RFC 8785 section 3.2.3: the order of names
        (
            r'{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",'
            r'"\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}',
            '{"\\r":"Carriage Return","1":"One","\x80":"Control","\xf6":"Latin Small Letter O With Diaeresis",'
            '"\u20ac":"Euro Sign","\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}',
        ),
        # The test data beside the RFC's reference implementations: weird, french, structures, unicode, arrays
        (
            r'{"\u20ac":"Euro Sign","1":"One","\u0080":"Control\u007f","\ud83d\ude02":"Smiley",'
            r'"\u00f6":"Latin Small Letter O With Diaeresis","\ufb33":"Hebrew Letter Dalet With Dagesh",'
            r'"</script>":"Browser Challenge"}',
            '{"1":"One","</script>":"Browser Challenge","\x80":"Control\x7f",'
            '"\xf6":"Latin Small Letter O With Diaeresis","\u20ac":"Euro Sign","\U0001f602":"Smiley",'
            '"\ufb33":"Hebrew Letter Dalet With Dagesh"}',
        ),
        (
            '{"peach":"This sorting order","péché":"is wrong according to French",'
            '"pêche":"but canonicalization MUST","sin":"ingnore locale"}',
            '{"peach":"This sorting order","péché":"is wrong according to French",'
            '"pêche":"but canonicalization MUST","sin":"ingnore locale"}',
        ),
        (
            r'{"1":{"f":{"f":"hi","F":5},"\n":56.0},"10":{},"":"empty","a":{},"111":[{}],"A":{}}',
            r'{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{}],"A":{},"a":{}}',
        ),
        (r'{"Unnormalized Unicode":"\u1e0d\u0307"}', '{"Unnormalized Unicode":"\u1e0d\u0307"}'),
        ('[56,{"d":true,"10":null,"1":[]}]', '[56,{"1":[],"10":null,"d":true}]'),
    ],
)
def test_published_examples(given_text: str, expected: str) -> None:
    assert canonical_json(parse_json(given_text.encode())) == expected.encode()
    assert is_canonical(expected.encode())


@settings(max_examples=400)
@given(values)
@example({"\U00010000": 1, "\ue000": 2})
@example({"\uffff": {"\U0010ffff": 1.0}})
@example([1.0, -0.0, 1e15, MAX, -MAX])
def test_both_roads_and_the_reference_write_the_same_bytes(value: object) -> None:
    written = canonical_json(value)
    assert written == rfc8785.dumps(value)
    assert written == reference(value).encode()
    assert parse_json(written) == value
    assert canonical_json(parse_json(written)) == written
    assert is_canonical(written)


@given(nested(plain))
def test_the_road_for_decoded_values_is_the_same(value: object) -> None:
    assert canonical_decoded(value) == canonical_json(value) == reference(value).encode()


@settings(max_examples=400)
@given(values, st.booleans(), st.booleans(), st.integers(0, 2))
def test_is_canonical_says_what_parsing_and_writing_say(
    value: object, ascii_only: bool, sort: bool, indent: int
) -> None:
    separators = [(",", ":"), (", ", ": "), (",", ": ")][indent]
    data = json.dumps(value, ensure_ascii=ascii_only, sort_keys=sort, separators=separators).encode()
    assert is_canonical(data) == (canonical_json(parse_json(data)) == data)


@settings(max_examples=600)
@given(values, st.data())
def test_is_canonical_agrees_on_damaged_bytes(value: object, data: st.DataObject) -> None:
    written = bytearray(canonical_json(value))
    place = data.draw(st.integers(0, len(written)))
    piece = data.draw(
        st.one_of(
            st.binary(min_size=1, max_size=3),
            st.sampled_from(
                [b" ", b"0", b".0", b"e0", b"-", b'"', b"\\", b"\\u0000", b"\\ud800", b"\xed\xa0\x80", b"\xc0\x80"]
            ),
        )
    )
    written[place : place + data.draw(st.integers(0, 2))] = piece
    damaged = bytes(written)
    try:
        expected = canonical_json(parse_json(damaged)) == damaged
    except NotCanonical:
        expected = False
    assert is_canonical(damaged) == expected


REFUSED = {
    "a name twice": b'{"a":1,"a":1}',
    "a name twice, deep": b'[{"b":[{"a":1,"c":2,"a":3}]}]',
    "a name twice, once escaped": b'{"a":1,"\\u0061":2}',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'"\\udc00"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "a lone surrogate in a name": b'{"\\ud800":1}',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "NaN": b"NaN",
    "Infinity": b"[-Infinity]",
    "beyond doubles": b"1e400",
    "beyond doubles, negative": b'{"a":-1E400}',
    "BOM": b"\xef\xbb\xbf{}",
    "overlong": b'"\xc0\x80"',
    "overlong slash": b'"\xe0\x80\xaf"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a control character": b'"\x1f"',
    "a newline in text": b'"\n"',
    "2^53": b"9007199254740992",
    "-2^53": b"-9007199254740992",
    "2^53 as a float": b"9007199254740992.0",
    "2^53-1 and a fraction that rounds up": b"9007199254740991.9",
    "1e20": b"1e20",
    "1E21": b"1E21",
    "1e308": b"1e308",
    "many digits": b"1" * 5000,
    "leading zero": b"01",
    "leading plus": b"+1",
    "no digit after the point": b"1.",
    "trailing comma": b"[1,]",
    "trailing bytes": b"{} {}",
    "nothing": b"",
    "single quotes": b"{'a':1}",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_input_is_refused(name: str) -> None:
    with pytest.raises(NotCanonical) as refusal:
        parse_json(REFUSED[name])
    assert len(str(refusal.value)) < 300
    assert not is_canonical(REFUSED[name])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"-0", b"0"),
        (b"-0.0", b"0"),
        (b"-0e10", b"0"),
        (b"1e-400", b"0"),
        (b"1.0", b"1"),
        (b"1e2", b"100"),
        (b"9007199254740991.0", b"9007199254740991"),
        (b"9007199254740991.4", b"9007199254740991"),
        (b"1E-7", b"1e-7"),
        (b"0.0000001", b"1e-7"),
        (b"1E-5", b"0.00001"),
        (b'"\\u0008\\u000C\\u001F\\u007f\\u2028\\/"', b'"\\b\\f\\u001f\x7f\xe2\x80\xa8/"'),
        (b'"\\uD83D\\uDE00"', b'"\xf0\x9f\x98\x80"'),
        (b' { "b" : 1 , "a" : [ ] } \n', b'{"a":[],"b":1}'),
    ],
)
def test_other_spellings_come_out_canonical(data: bytes, expected: bytes) -> None:
    assert not is_canonical(data)
    assert canonical_json(parse_json(data)) == expected
    assert is_canonical(expected)


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, 2**53, -(2**53), 2.0**53, 1e300, {"a": [math.nan]}, [2**64], [10**400],
        {1: 2}, {None: 1}, {"a": b"bytes"}, {1, 2}, object(), Decimal(1),
        {"a": {2: 3}}, {1.5: 1.5}, "\ud800", {"\udc00": 1},
        ["\ue000\ud800", 0.5],
    ],
)  # fmt: skip
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)


def test_nesting_beyond_the_interpreter_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotCanonical):
        canonical_json(deep)
    with pytest.raises(NotCanonical):
        canonical_json([0.5, deep])


def test_sixteen_digits_in_a_text_are_no_number() -> None:
    assert is_canonical(b'{"trace_id":"12345678901234567890123456789012"}')
    assert not is_canonical(b'{"a":12345678901234567890,"trace_id":"1"}')
