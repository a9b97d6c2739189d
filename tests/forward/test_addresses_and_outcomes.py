"""Whom a target may connect to, what an answer means, and how long is waited."""

from __future__ import annotations

import ipaddress
import itertools
import socket
from datetime import UTC, datetime
from typing import Any

import pytest

from sealstream.errors import Misconfigured, Unavailable
from sealstream.forward.addresses import Guard, NotAllowed, connected, judged
from sealstream.forward.outcomes import of_status, retry_after_s
from sealstream.forward.pacing import Pace

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1"),
        *("224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.88.99.1", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1"),
        *("2001:0:7f00:1::", "3fff::1", "100::1", "5f00::1", "fec0::1", "::127.0.0.1", "203.0.113.9", "198.51.100.1"),
        *("::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::"),
    ],
)
def test_what_is_not_public_is_refused_however_it_is_written(address: str) -> None:
    assert judged(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_are_fine(address: str) -> None:
    assert judged(ipaddress.ip_address(address)) == ""


def test_networks_are_allowed_by_name_and_no_others_with_them() -> None:
    guard = Guard.of(["10.1.0.0/16", "::1/128"])
    assert judged(ipaddress.ip_address("10.1.2.3"), guard.allowed) == ""
    assert judged(ipaddress.ip_address("::1"), guard.allowed) == ""
    assert judged(ipaddress.ip_address("10.2.0.1"), guard.allowed)
    assert judged(ipaddress.ip_address("169.254.169.254"), guard.allowed)
    with pytest.raises(Misconfigured, match=r"'10\.1\.0\.1/16' is no network"):
        Guard.of(["10.1.0.1/16"])


def test_what_goes_in_the_clear_goes_to_named_networks_alone() -> None:
    guard = Guard.of(["127.0.0.0/8"], only=True)
    assert guard.resolve("127.0.0.1", 80) == ["127.0.0.1"]
    with pytest.raises(NotAllowed, match="in the clear"):
        guard.resolve("1.1.1.1", 80)
    assert Guard.of(["127.0.0.0/8"]).resolve("1.1.1.1", 443) == ["1.1.1.1"]


def test_a_name_that_leads_here_is_refused_in_words() -> None:
    with pytest.raises(NotAllowed, match=r"localhost may not be connected to: .*this machine itself.*allow_networks"):
        Guard().resolve("localhost", 80)
    for spelling in ("127.1", "0x7f.1", "2130706433"):  # as the system's resolver reads them
        with pytest.raises((NotAllowed, Unavailable)):
            Guard().resolve(spelling, 80)


def test_a_name_is_asked_once_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer of a rebinding name is never seen: the address that was judged is the one connected to."""
    answers = itertools.chain(["93.184.216.34"], itertools.repeat("127.0.0.1"))
    asked, dialled = [], []

    def getaddrinfo(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def create_connection(address: tuple[str, int], timeout: float) -> socket.socket:
        dialled.append(address[0])
        raise ConnectionRefusedError("no")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(Unavailable):
        connected(Guard(), "rebinding.example.com", 443, 1)
    assert (asked, dialled) == (["rebinding.example.com"], ["93.184.216.34"])
    with pytest.raises(NotAllowed):
        connected(Guard(), "rebinding.example.com", 443, 1)
    assert dialled == ["93.184.216.34"]


@pytest.mark.parametrize(
    ("status", "end"),
    [
        *((status, "taken") for status in (200, 201, 202, 204)),
        *((status, "unsure") for status in (301, 302, 307, 308, 401, 403, 404, 405, 410, 500, 501, 505)),
        *((status, "later") for status in (408, 425, 429, 502, 503, 504)),
        *((status, "refused") for status in (400, 402, 406, 409, 411, 413, 415, 422, 431)),
    ],
)
def test_statuses(status: int, end: str) -> None:
    assert of_status(status, "said", None, NOW).end == end


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *((None, 0.0), ("", 0.0), ("7", 7.0), (" 2.5 ", 2.5), ("-3", 0.0), ("999999999", 3600.0)),
        *(("nan", 0.0), ("inf", 0.0), ("soon", 0.0), ("Tue, 24 Nov 2026 03:00:30 GMT", 30.0)),
        *(("Tue, 24 Nov 2026 02:00:00 GMT", 0.0), ("Tue, 24 Nov 2026 03:00:30 -0000", 30.0)),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert retry_after_s(header, NOW) == seconds
    assert of_status(429, "", header, NOW).after_s == seconds


def test_pauses_double_up_to_a_minute_with_jitter_and_never_below_what_was_asked_for() -> None:
    clock = [100.0]
    for dice, part in ((0.0, 0.5), (1.0, 1.0)):
        pace = Pace(lambda: clock[0], lambda dice=dice: dice)  # type: ignore[misc]
        pauses = [pace.failed() for _ in range(10)]
        assert pauses[:4] == [part * each for each in (0.5, 1.0, 2.0, 4.0)]
        assert pauses[-1] == part * 60
        assert pace.failed(after_s=90) == 90
        assert pace.waits_s == 90
        clock[0] += 91
        assert pace.waits_s == 0
        assert pace.failing_s == 91
        pace.well()
        assert (pace.waits_s, pace.failing_s, pace.failed()) == (0, 0, part * 0.5)
