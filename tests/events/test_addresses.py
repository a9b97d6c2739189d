"""IP addresses: one spelling each, judged by Python's own parser."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.errors import InvalidEvent
from sealstream.events import canonical_ip
from sealstream.events.addresses import is_canonical_ip

numbers = st.integers(0, 2**128 - 1) | st.lists(
    st.sampled_from([0, 0, 0, 1, 0xFFFF, 0xAB]), min_size=8, max_size=8
).map(lambda groups: sum(group << 16 * place for place, group in enumerate(groups)))


def spellings(number: int) -> list[str]:
    groups = [number >> 16 * place & 0xFFFF for place in reversed(range(8))]
    long = ":".join(f"{group:04X}" for group in groups)
    dotted = ".".join(str(byte) for byte in (number & 0xFFFFFFFF).to_bytes(4, "big"))
    mixed = ":".join(f"{group:x}" for group in groups[:6]) + ":" + dotted
    return [
        str(ipaddress.IPv6Address(number)),
        long,
        mixed,
        socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big")),
    ]


@settings(max_examples=500)
@given(numbers)
def test_every_spelling_of_an_address_gives_one(number):
    results = {canonical_ip(text) for text in spellings(number)}
    assert len(results) == 1
    (text,) = results
    assert is_canonical_ip(text)
    assert canonical_ip(text) == text
    mapped = ipaddress.IPv6Address(number).ipv4_mapped
    assert ipaddress.ip_address(text) == (mapped or ipaddress.IPv6Address(number))
    assert mapped is not None or "." not in text  # never mixed notation


@given(numbers)
def test_ipv6_is_written_as_rfc_5952_says(number):
    """The C library writes RFC 5952 too, but for addresses that it shows in mixed notation."""
    theirs = socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))
    if "." not in theirs:
        assert canonical_ip(theirs) == theirs


@given(st.ip_addresses(v=4))
def test_ipv4_stays(address):
    assert canonical_ip(str(address)) == str(address)
    assert canonical_ip(f"::ffff:{address}") == str(address)


# RFC 5952 sections 4.2 and 5, and RFC 4291 section 2.2.
@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1"),
        ("2001:db8::0:1", "2001:db8::1"),
        ("2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:DB8::AAAA", "2001:db8::aaaa"),
        ("FF01:0:0:0:0:0:0:101", "ff01::101"),
        ("0:0:0:0:0:0:13.1.68.3", "::d01:4403"),
        ("0:0:0:0:0:FFFF:129.144.52.38", "129.144.52.38"),
    ],
)
def test_the_examples_of_the_rfcs(text, canonical):
    assert canonical_ip(text) == canonical


@settings(max_examples=1000)
@given(
    st.from_regex(r"[0-9a-fA-F:.]{1,24}", fullmatch=True)
    | st.lists(st.sampled_from(["", "0", "1", "fff", "0001", "1.2.3.4", "01.2.3.4"]), min_size=1, max_size=9).map(
        ":".join
    )
    | st.lists(st.sampled_from(["0", "1", "01", "255", "256", ""]), min_size=3, max_size=5).map(".".join)
)
def test_what_python_reads_is_read_and_nothing_else(text):
    try:
        expected = ipaddress.ip_address(text)
    except ValueError:
        assert not is_canonical_ip(text)
        with pytest.raises(InvalidEvent):
            canonical_ip(text)
    else:
        mapped = expected.ipv4_mapped if isinstance(expected, ipaddress.IPv6Address) else None
        assert ipaddress.ip_address(canonical_ip(text)) == (mapped or expected)
