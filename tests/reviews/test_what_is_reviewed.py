"""Reviews, purely: what statements say, what is due and overdue, what a document holds and when it says otherwise."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstream.alerts import fold as fold_alerts
from sealstream.anomaly.detectors import PIPELINE_DETECTORS
from sealstream.anomaly.pipeline import PipelineKept, PipelineWatch, ReviewLate, ReviewsObserved
from sealstream.anomaly.watching import chosen
from sealstream.cli.review_sections import ReviewsSection
from sealstream.cli.review_view import line_of
from sealstream.errors import NotCanonical
from sealstream.events import format_timestamp
from sealstream.layout import Entry, Retention, WrittenFields
from sealstream.layout.alerts import Alert, alert_id
from sealstream.reports import PERIOD_KINDS, Asker, Period, PeriodKind, PeriodReport, period_sections
from sealstream.reports.gathering import EVENTS
from sealstream.reviews import (
    Cadence,
    alerts_of,
    alerts_section,
    changes,
    document_bytes,
    fold,
    letters_section,
    overdue,
    periods_over,
    read_document,
    review_document,
    review_id,
    state_of,
)

NOVEMBER = Period.parse("2026-11")
MONTHLY = Cadence("month", 10)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def said(seq: int, action: str, moment: datetime, metadata: dict[str, Any], **more: Any) -> Entry:
    sealed = format_timestamp(moment)
    return Entry(
        more.get("identity", f"e{seq}"), sealed, more.get("who", "ann@desk"), "admin", action, "review", "r", "success",
        WrittenFields("main", seq, "control", -1, seq, sealed, 1), metadata=metadata,
    )  # fmt: skip


def started(seq: int, moment: datetime, period: str = "2026-11", sha256: str = "aa", **more: Any) -> Entry:
    return said(seq, "review.started", moment, {"review": "r", "period": period, "document_sha256": sha256}, **more)


def signed(seq: int, moment: datetime, period: str = "2026-11", **more: Any) -> Entry:
    metadata = {"review": "r", "period": period, "note": "looked", "document_sha256": "aa", "size": 9}
    return said(seq, "review.signed", moment, metadata | more.pop("metadata", {}), **more)


# --- what statements say ----------------------------------------------------------------------------------------------


def test_who_began_and_who_signed_is_what_the_chain_says() -> None:
    review = fold(
        [
            started(1, at("2026-12-01 08:00")),
            started(2, at("2026-12-02 08:00"), sha256="bb", who="bob@desk"),
            signed(3, at("2026-12-02 09:00"), metadata={"by": "the board", "open_alerts": 2}),
            signed(4, at("2026-12-03 09:00"), who="bob@desk"),
            said(5, "alert.closed", at("2026-12-03 09:00"), {"alert": "x"}),
        ]
    ).of("main", NOVEMBER)
    assert [(each.by, each.document_sha256) for each in review.started] == [("ann@desk", "aa"), ("bob@desk", "bb")]
    assert [(each.person, each.by, each.open_alerts) for each in review.signatures] == [
        ("ann@desk", "ann@desk (for the board)", 2),
        ("bob@desk", "bob@desk", 0),
    ]
    assert fold([]).of("main", NOVEMBER).signatures == ()


def test_a_signature_from_within_the_period_and_a_period_that_is_none_count_for_nothing() -> None:
    reviews = fold(
        [
            signed(1, at("2026-11-30 23:59:59")),
            signed(2, at("2026-12-01 00:00"), period="2026-W99"),
            signed(3, at("2026-12-01 00:00"), period="2026-W48"),
        ]
    )
    assert reviews.of("main", NOVEMBER).signatures == ()
    assert [str(period) for _, period in reviews.found if reviews.of("main", period).signatures] == ["2026-W48"]


def test_a_review_has_one_id_whoever_makes_it() -> None:
    assert review_id("a/main", NOVEMBER) == review_id("a/main", Period.parse("2026-11"))
    others = [review_id("a/main", Period.parse("2026-12")), review_id("b/main", NOVEMBER)]
    assert len({review_id("a/main", NOVEMBER), *others}) == 3


# --- what is due ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "statements", "state"),
    [
        ("2026-11-30 23:59:59", [], "running"),
        ("2026-11-20 00:00", [signed(1, at("2026-11-19 00:00"))], "running"),
        ("2026-12-01 00:00", [], "due"),
        ("2026-12-10 23:59:59", [started(1, at("2026-12-02 00:00"))], "started"),
        ("2026-12-11 00:00", [started(1, at("2026-12-02 00:00"))], "overdue"),
        ("2026-12-11 00:00", [signed(1, at("2026-12-20 00:00"))], "signed"),
    ],
)
def test_a_period_is_due_from_its_end_on_and_overdue_from_its_due_day_on(
    now: str, statements: list[Entry], state: str
) -> None:
    assert state_of(fold(statements).of("main", NOVEMBER), at(now), MONTHLY) == state


def test_where_nobody_has_to_nothing_is_overdue() -> None:
    review = fold([]).of("main", NOVEMBER)
    late = at("2027-06-01 00:00")
    assert state_of(review, late) == "open"
    assert state_of(review, late, Cadence("day", 1)) == "open"
    assert state_of(review, late, MONTHLY._replace(since=date(2026, 12, 1))) == "open"
    assert state_of(review, late, MONTHLY._replace(since=date(2026, 11, 1))) == "overdue"


def test_what_is_overdue_is_told_oldest_first_and_begins_with_the_chain() -> None:
    reviews = fold([signed(1, at("2026-12-05 00:00")), started(2, at("2027-01-05 00:00"), period="2026-12")])
    late = overdue(reviews, "main", MONTHLY, at("2027-02-11 00:00"), began=at("2026-10-31 23:00"))
    assert [(str(each.period), each.due_at, each.started_by) for each in late] == [
        ("2026-10", at("2026-11-11 00:00"), ""),
        ("2026-12", at("2027-01-11 00:00"), "ann@desk"),
        ("2027-01", at("2027-02-11 00:00"), ""),
    ]
    assert overdue(reviews, "main", MONTHLY, at("2026-12-10 00:00"), began=at("2026-11-01 00:00")) == []
    old = at("2020-01-01 00:00")
    assert len(overdue(fold([]), "main", Cadence("day", 0), at("2027-02-11 12:00"), began=old)) == 60


def test_a_chain_that_has_not_begun_has_no_period_that_is_over() -> None:
    assert overdue(fold([]), "main", MONTHLY, at("2027-02-11 00:00"), began=None) == []
    assert list(periods_over("month", at("2027-02-11 00:00"), None)) == []


def test_a_span_is_nobodys_duty_however_late_its_end_is() -> None:
    yearly = Cadence("day", 366)
    span = fold([started(1, at("2026-12-01 08:00"), period="9998-12-31T00:00:00Z..9998-12-31T23:00:00Z")])
    (review,) = span.found.values()
    assert line_of(review, at("2026-12-02 00:00"), yearly).due_at is None
    day = fold([]).of("main", Period.parse("2026-11-30"))
    assert line_of(day, at("2026-12-02 00:00"), Cadence("day", 1)).due_at == at("2026-12-02 00:00")
    assert line_of(day, at("2026-12-02 00:00"), MONTHLY).due_at is None
    assert line_of(day, at("2026-12-02 00:00"), Cadence("day", 1, date(2026, 12, 1))).due_at is None


def test_a_closed_chain_is_nobodys_duty_though_the_settings_name_it() -> None:
    section = ReviewsSection(every="month", chains=["main"])
    assert section.cadence("main", ["main"]) == Cadence("month", 10)
    assert section.cadence("main", ["main-r2"]) is None
    assert ReviewsSection(every="month").cadence("main-r2", ["main-r2"]) == Cadence("month", 10)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)), st.sampled_from(PERIOD_KINDS))
def test_the_periods_that_are_over_reach_from_the_last_one_back_to_the_chains_first(
    now: datetime, kind: PeriodKind
) -> None:
    began = now - timedelta(days=45)
    found = list(periods_over(kind, now, began))
    assert all(period.ends <= now for period in found)
    assert Period.holding(kind, now.date()).previous == found[0] or found == []
    assert [period.previous for period in found[:-1]] == found[1:]
    assert found == [] or (found[-1].ends > began >= found[-1].previous.ends)


# --- the alert --------------------------------------------------------------------------------------------------------

DUE = 1_796_947_200
WATCH = PipelineWatch(chosen(PIPELINE_DETECTORS, {}))


def late(number: int, started_by: str = "") -> ReviewLate:
    return ReviewLate(f"2026-{number:02d}", DUE + (number - 3) * 2_592_000, DUE + number * 2_592_000, started_by)


def seen(kept: PipelineKept, *reviews: ReviewLate, at_s: int = DUE * 2, every: PeriodKind = "month") -> list[Alert]:
    return WATCH.see(kept, ReviewsObserved(chain="main", at_s=at_s, every=every, overdue=list(reviews)))


def test_an_overdue_review_is_told_once() -> None:
    kept = PipelineKept()
    assert seen(kept) == []
    (alert,) = seen(kept, late(1, "ann@desk"))
    assert (alert.detector, alert.subject_kind, alert.subject, alert.severity) == (
        "review_overdue", "pipeline", "main", "medium",
    )  # fmt: skip
    assert (
        alert.summary
        == "the review of 2026-01 of chain main is overdue since 2027-01-10T00:00:00Z, begun by ann@desk and not signed"
    )
    assert seen(kept, late(1), at_s=DUE * 2 + 86_400) == []
    (second,) = seen(kept, late(1), late(2))
    assert second.severity == "high"
    assert "1 older one is overdue, too" in second.summary
    assert second.id != alert.id
    assert seen(kept, late(1)) == []
    assert seen(kept) == []


def test_who_has_forgotten_everything_finds_the_same_alert() -> None:
    kept = PipelineKept()
    (alert,) = seen(kept, late(1))
    (again,) = seen(PipelineKept(), late(1), at_s=DUE * 3)
    assert again == alert
    restored = WATCH.decode(WATCH.encode(kept))
    assert seen(restored, late(1)) == []


def test_a_day_and_a_month_that_are_due_in_one_second_are_two_alerts() -> None:
    ids = {seen(PipelineKept(), late(1), every=every)[0].id for every in PERIOD_KINDS}
    assert len(ids) == 3


# --- the document -----------------------------------------------------------------------------------------------------


class Log:
    """300 events of ann in November, two refused records, of which one was sent again."""

    def __init__(self, events: int = 300) -> None:
        self.events = events

    def count_by(self, text: str, field: str) -> list[tuple[str, int]]:
        if "deadletter.retried" in text:
            return [("control", 1)]
        if text.startswith((f"{EVENTS} sealed", f"{EVENTS} result:success")):
            return [({"actor": "ann", "sealed_day": "2026-11-03"}.get(field, "event"), self.events)]
        return []

    def entries(self, text: str) -> list[dict[str, Any]]:
        if not text.startswith("kind:log action:input.passed"):
            return []
        items = [
            {"what": "refused", "first": 4, "last": 5, "reason": "no JSON"},
            {"what": "repeated", "first": 6, "last": 6},
            {"what": "empty", "first": 7, "last": 7},
        ]
        return [{"written": {"seq": 9}, "timestamp": "2026-11-03T00:00:00Z", "metadata": {"items": items}}]


FIRST, SECOND, MUTED, LATER = (alert_id("d", "main", "actor", "u", str(n)) for n in range(4))


def raised(seq: int, identity: str, moment: str, severity: str = "low") -> Entry:
    facts = {"detector": "d", "severity": severity, "summary": f"seen of {identity[:4]}", "incident": FIRST}
    return said(seq, "alert.raised", at(moment), facts, identity=identity)


ALERTS = [
    raised(1, FIRST, "2026-11-02 00:00"),
    raised(2, SECOND, "2026-11-30 23:59:59", "high"),
    said(
        3, "alert.muted", at("2026-11-30 23:59:59"), {"mute": "m", "until": "2026-12-03T00:00:00Z", "reason": "drill"}
    ),
    raised(4, MUTED, "2026-11-30 23:59:59"),
    raised(5, LATER, "2026-12-01 00:00"),
]
CLOSED = said(6, "alert.closed", at("2026-12-02 00:00"), {"alert": FIRST, "as": "benign", "reason": "a drill"})


def document(events: int = 300, *more: Entry, now: str = "2026-12-02 00:00", verdict: str = "") -> dict[str, Any]:
    made_at = at(now)
    ask = Asker(Log(events), "main", NOVEMBER, made_at)  # type: ignore[arg-type]
    alerts = alerts_of(fold_alerts([*ALERTS, *more]), "main", NOVEMBER)
    first, *rest = period_sections(
        ask, NOVEMBER, verified={"kafka": verdict} if verdict else {}, retention=Retention("soc2", 366)
    )
    sections = [first, alerts_section(alerts, "main", NOVEMBER), letters_section(ask), *rest]
    report = PeriodReport(
        "main", "a/main", "key", NOVEMBER, made_at, "ann@desk", "postgres", "not verified", None, sections
    )
    return review_document(report, "r", 400)


def test_a_document_holds_the_figures_that_a_signature_states() -> None:
    figures = document()["figures"]
    assert figures == {
        "events": 300, "actors": 1, "denied": 0, "failed": 0, "reads": 0, "reads_refused": 0, "gaps": 0, "refused": 2,
        "sent_again": 1, "lost": 0, "alerts": 3, "alerts_left_to_do": 2, "true_positives": 0, "false_positives": 0,
        "benign": 0, "alerts_muted": 1, "verification": {},
        "privileged": dict.fromkeys(figures["privileged"], 0),
    }  # fmt: skip
    assert document(verdict="no answer")["figures"]["verification"] == {"kafka": "could not verify"}


def test_the_same_document_is_the_same_bytes_and_another_is_told() -> None:
    data = document_bytes(document())
    assert data == document_bytes(document())
    assert read_document(data) == document()
    for wrong in (data + b"\n", data.replace(b'"events":300', b'"events": 300'), b"{}", b"[]", b"", data[:-1]):
        with pytest.raises(NotCanonical):
            read_document(wrong)


def test_what_is_left_to_do_stands_first_and_the_worst_before_the_others() -> None:
    section = next(each for each in document(300, CLOSED)["sections"] if each["title"] == "Alerts")
    table = section["tables"][0]
    assert [(row[0], row[6]) for row in table["rows"]] == [("2", "open"), ("1", "benign"), ("4", "muted")]
    assert section["tables"][1]["rows"] == [["d", 3, 0, 0, 1, 1]]
    assert section["tables"][2]["rows"][0][:4] == ["all", "all", "2026-11-30 23:59", "2026-12-03 00:00"]


def test_a_document_says_what_became_otherwise() -> None:
    then = read_document(document_bytes(document()))
    assert changes(then, document(now="2027-03-01 00:00", verdict="no answer")) == []
    assert "events: 300 then, 299 now" in changes(then, document(299))
    judged = changes(then, document(300, CLOSED))
    assert "alerts left to do: 2 then, 1 now" in judged
    assert any(each.startswith("Alerts, what is left to do first: now 1, ") for each in judged)
    assert changes(then | {"sections": []}, document())[0] == "events: nothing then, 300 now"
