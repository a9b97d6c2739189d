"""What a chain is called and how long it is kept."""

from __future__ import annotations

import pytest

from sealstream.errors import Misconfigured, NotCanonical
from sealstream.layout import (
    ChainSettings,
    Retention,
    SegmentLimits,
    check_chain_name,
    check_log_name,
    named_retention,
    read_retention,
    retention_members,
)


@pytest.mark.parametrize("name", ["main", "0", "a" * 39, "phi-0", "a--b", "a-", "main-r", "main-rx2", "r2", "main-r2x"])
def test_a_chain_may_be_called(name):
    assert check_chain_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a" * 40, "-a", "Main", "a_b", "a.b", "a/b", "a b", "é", "main\n", "main-r2", "main-r0", "a-r-r12", "٣"],
)
def test_a_chain_may_not_be_called(name):
    with pytest.raises(Misconfigured, match="chain name"):
        check_chain_name(name)


def test_successors_have_a_sentence_of_their_own():
    with pytest.raises(Misconfigured, match="kept for a lost chain's successor"):
        check_chain_name("main-r2")


@pytest.mark.parametrize("log", ["audit.example.com", "audit.example.com/clinic", "a/b_c/d.e-f", "localhost"])
def test_a_log_may_be_called(log):
    assert check_log_name(log) == log


@pytest.mark.parametrize(
    "log", ["", "https://example.com", "Example.com", "a/", "/a", "a//b", "a b", "a_b", "a\n", "a:80", "a+b", "a/b/é"]
)
def test_a_log_may_not_be_called(log):
    with pytest.raises(Misconfigured, match="log name"):
        check_log_name(log)


def test_the_origin_is_log_and_chain():
    settings = ChainSettings("main", "audit.example.com/clinic", "vkey", Retention("own", 1))
    assert settings.origin == "audit.example.com/clinic/main"
    assert settings.limits == SegmentLimits(100_000, 67_108_864, 300)


@pytest.mark.parametrize(
    ("policy", "archive_days", "online_days"),
    [
        ("hipaa", 2196, None),
        ("pci", 732, 366),
        ("soc2", 366, None),
        ("gdpr:90d", 90, None),
        ("gdpr:18m", 558, None),
        ("gdpr:3y", 1098, None),
        ("30d", 30, None),
        ("6y", 2196, None),
        ("1d", 1, None),
    ],
)
def test_a_policy_has_its_days(policy, archive_days, online_days):
    assert named_retention(policy) == Retention(policy, archive_days=archive_days, online_days=online_days)


@pytest.mark.parametrize(("policy", "years"), [("hipaa", 6), ("pci", 2), ("soc2", 1), ("6y", 6), ("12m", 1)])
def test_no_policy_is_a_day_short_wherever_it_begins(policy, years):
    """Leap years included: the longest run of so many calendar years."""
    from datetime import date

    longest = max((date(start + years, 3, 1) - date(start, 3, 1)).days for start in range(1999, 2009))
    assert named_retention(policy).archive_days >= longest


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "HIPAA",
        "gdpr:",
        "gdpr:0d",
        "0d",
        "-1d",
        "1w",
        "1",
        "d",
        "1.5y",
        "100000d",
        "1d\n",
        "gdpr:gdpr:1d",
        "٣d",
    ],
)
def test_an_unknown_policy_is_refused_with_what_is_known(policy):
    with pytest.raises(Misconfigured, match="expected hipaa, pci, soc2, gdpr:<duration>"):
        named_retention(policy)


def test_gdpr_alone_is_refused_since_it_names_no_time():
    with pytest.raises(Misconfigured, match="GDPR names no time, your purpose does: gdpr:<duration>"):
        named_retention("gdpr")


@pytest.mark.parametrize("policy", ["9999y", "101y", "gdpr:101y", "36601d", "9999m"])
def test_a_policy_of_more_than_100_years_is_refused(policy):
    with pytest.raises(Misconfigured, match=r"expected at most 36,500 \(100 years\)"):
        named_retention(policy)


@pytest.mark.parametrize("policy", ["36500d"])
def test_a_policy_of_100_years_is_one(policy):
    longest = named_retention(policy)
    assert longest.archive_days == 36_500
    assert read_retention(retention_members(longest)) == longest


@pytest.mark.parametrize("days", [{"archive_days": 36_601}, {"online_days": 36_601}, {"archive_days": 2**53 - 1}])
def test_a_statement_that_promises_more_than_100_years_promises_nothing(days):
    with pytest.raises(NotCanonical, match="no retention: expected at most 36,500 days"):
        read_retention({"policy": "x", "archive_days": 366, **days})
