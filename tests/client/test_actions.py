"""A block, a function: one event when it is over, with how it ended; the exception always goes on."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sealstream.client import AuditClient, context
from sealstream.client.testing import Recorded
from sealstream.errors import InvalidEvent


class NotYours(Exception):
    """The application's own way to deny."""


class HttpError(Exception):
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


@pytest.fixture
def audit(recorded: Recorded) -> AuditClient:
    return AuditClient("main", "127.0.0.1:1", denials=[NotYours])


ENDS: list[tuple[BaseException | None, str]] = [
    (None, "success"),
    (PermissionError("secret text"), "denied"),
    (NotYours("secret text"), "denied"),
    (HttpError(403), "denied"),
    (HttpError(401), "denied"),
    (HttpError(404), "failure"),
    (ValueError("secret text"), "failure"),
    (KeyboardInterrupt(), "failure"),
    (asyncio.CancelledError(), "failure"),
    (SystemExit(0), "success"),
    (SystemExit(1), "failure"),
]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("error", "result"), ENDS, ids=lambda each: type(each).__name__)
def test_the_result_is_how_the_block_ended_and_the_exception_goes_on(
    audit: AuditClient, recorded: Recorded, error: BaseException | None, result: str, asynchronous: bool
) -> None:
    async def block() -> None:
        async with audit.action("invoice.approve", ("invoice", 7)):
            if error is not None:
                raise error

    raised: BaseException | None = None
    try:
        if asynchronous:
            with suppress(StopIteration):
                block().send(None)
        else:
            with audit.action("invoice.approve", ("invoice", 7)):
                if error is not None:
                    raise error
    except BaseException as caught:  # noqa: BLE001 - the very one is looked at
        raised = caught
    assert raised is error
    event = recorded.one(action="invoice.approve", resource_type="invoice", resource_id="7", result=result)
    names = {"CancelledError": "cancelled", "NoneType": None}
    expected = None if result == "success" else names.get(type(error).__name__, type(error).__name__)
    assert event["metadata"].get("error") == expected
    assert event["metadata"]["duration_ms"] >= 0
    assert "secret text" not in str(event)


def test_what_the_block_says(audit: AuditClient, recorded: Recorded) -> None:
    with (
        context(actor_id="user-1"),
        audit.action("invoice.approve", ("invoice", 7), reason="asked", metadata={"a": 1}) as action,
    ):
        action.changes({"state": "open", "n": 1}, {"state": "approved", "n": 1})
        action.describe(metadata={"b": 2}, tenant="north")
    event = recorded.one()
    assert action.event_id == event["id"]
    assert (event["actor_id"], event["tenant"], event["reason"]) == ("user-1", "north", "asked")
    assert event["metadata"].keys() == {"a", "b", "duration_ms"}
    assert (event["changed_fields"], event["old_values"], event["new_values"]) == (
        ["state"],
        {"state": "open"},
        {"state": "approved"},
    )


def test_a_denial_or_failure_that_no_exception_tells(audit: AuditClient, recorded: Recorded) -> None:
    with audit.action("a", ("r", 1)) as action:
        action.deny("quota")
    with audit.action("b", ("r", 1)) as action:
        action.fail()
    with suppress(HttpError), audit.action("c", ("r", 1)) as action:
        action.deny()
        raise HttpError(404)  # a denial that the outside must not see
    assert [(event["action"], event["result"], event.get("reason")) for event in recorded] == [
        ("a", "denied", "quota"),
        ("b", "failure", None),
        ("c", "denied", None),
    ]


def test_records_that_nobody_can_read_break_nothing(audit: AuditClient, recorded: Recorded) -> None:
    class Broken(dict[str, int]):
        def items(self) -> None:  # type: ignore[override]
            raise OSError("secret text")

    for old in (5, Broken()):
        with audit.action("a", ("r", 1)) as action:
            action.changes(old, {"n": 1})
    assert [event["metadata"]["changes_unreadable"] for event in recorded] == ["TypeError", "OSError"]
    assert {event["result"] for event in recorded} == {"success"}


@dataclass
class InvoiceLine:
    id: int | None


def test_the_resource_is_named_by_its_id_when_it_has_one(audit: AuditClient, recorded: Recorded) -> None:
    line = InvoiceLine(None)
    with audit.action("create", line):
        line.id = 5
    with audit.action("delete", line):
        line.id = None
    with audit.action("nameless", InvoiceLine(None)):
        pass
    with audit.action("cleanup"):
        pass
    named = [(event["resource_type"], event["resource_id"]) for event in recorded]
    assert named == [("invoice_line", "5"), ("invoice_line", "5"), ("invoice_line", "-"), ("action", "cleanup")]


def test_rows_of_orms_are_named_by_their_primary_keys(audit: AuditClient, recorded: Recorded) -> None:
    class Base(DeclarativeBase):
        pass

    class OrderLine(Base):
        __tablename__ = "line"
        order: Mapped[int] = mapped_column("order_no", primary_key=True)
        number: Mapped[int] = mapped_column(primary_key=True)

    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    line = OrderLine(order=3, number=4)
    with Session(engine) as session, audit.action("create", line):
        session.add(line)
        session.commit()  # expires it: to read its id would be a query
    with audit.action("detached", line):
        pass
    assert {(event["resource_type"], event["resource_id"]) for event in recorded} == {("order_line", "3,4")}
    engine.dispose()


def test_strict_never_takes_the_place_of_the_exception(recorded: Recorded) -> None:
    strict = AuditClient("main", "127.0.0.1:1", strict=True)
    recorded.allow_dropped = True
    with pytest.raises(ValueError, match="mine") as raised, strict.action("", ("r", 1)):
        raise ValueError("mine")
    assert "was not sent" in raised.value.__notes__[0]
    with pytest.raises(InvalidEvent), strict.action("", ("r", 1)):
        pass


def test_unknown_fields_are_refused_before_the_block_begins(audit: AuditClient, recorded: Recorded) -> None:
    with pytest.raises(TypeError, match="no colour"):
        audit.action("a", ("r", 1), colour="red")  # type: ignore[call-arg]
    assert not recorded


def test_functions(audit: AuditClient, recorded: Recorded) -> None:
    @audit.audited("invoice.approve", resource="invoice_id", tenant="north")
    def approve(invoice_id: int, note: str = "") -> str:
        """Doc."""
        if note == "no":
            raise NotYours
        return note

    @audit.audited(resource=lambda line, **_: ("line", line))
    async def book(line: int) -> int:
        await asyncio.sleep(0)
        return line

    @audit.audited("line.read", resource="line")
    def read(line: InvoiceLine) -> None: ...

    @audit.audited()
    def nightly() -> None: ...

    class Shop:
        @audit.audited("sell", resource="item_id")
        def sell(self, item_id: str) -> str:
            return item_id

    assert approve(7, note="fine") == "fine"
    assert approve.__doc__ == "Doc."
    with pytest.raises(NotYours):
        approve(invoice_id=8, note="no")
    with pytest.raises(TypeError):
        approve()  # type: ignore[call-arg]
    assert asyncio.run(book(9)) == 9
    read(InvoiceLine(4))
    nightly()
    assert Shop().sell("x") == "x"
    seen = [(event["action"].rpartition(".")[2], event["resource_type"], event["resource_id"]) for event in recorded]
    here = f"{__name__}.test_functions.<locals>"
    assert seen == [
        ("approve", "invoice", "7"),
        ("approve", "invoice", "8"),
        ("approve", "function", f"{here}.approve"),
        ("book", "line", "9"),
        ("read", "invoice_line", "4"),
        ("nightly", "function", f"{here}.nightly"),
        ("sell", "item", "x"),
    ]
    assert [event["result"] for event in recorded][:3] == ["success", "denied", "failure"]
    assert recorded[0]["tenant"] == "north"
    assert asyncio.iscoroutinefunction(book)


def test_what_can_not_be_decorated_is_refused_when_it_is_defined(audit: AuditClient, recorded: Recorded) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def stream() -> AsyncIterator[int]:
        yield 1

    for function in (generator, stream):
        with pytest.raises(TypeError, match="yields"):
            audit.audited()(function)
    with pytest.raises(TypeError, match="below @classmethod"):
        audit.audited()(classmethod(lambda cls: cls))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"audited\(\)"):
        audit.audited(generator)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no parameter 'invoice'"):
        audit.audited(resource="invoice")(lambda invoice_id: invoice_id)


def test_a_partial_and_an_object_that_is_called_have_names(audit: AuditClient, recorded: Recorded) -> None:
    class Rule:
        def __call__(self, invoice_id: int) -> int:
            return invoice_id

    assert audit.audited(resource="invoice_id")(functools.partial(Rule(), invoice_id=7))() == 7
    assert audit.audited()(Rule())(8) == 8
    assert recorded[0]["resource_id"] == "7"
    assert recorded[1]["action"].endswith("Rule")


def test_what_can_name_no_resource_is_refused_at_once(audit: AuditClient, recorded: Recorded) -> None:
    class Line(NamedTuple):
        id: int
        text: str

    for resource in ("invoice-7", 7, b"7", ("invoice",), ("invoice", 7, 8)):
        with pytest.raises(TypeError, match="a pair of type and id"):
            audit.action("invoice.read", resource)
    with audit.action("line.read", Line(7, "x")):
        pass
    assert (recorded[0]["resource_type"], recorded[0]["resource_id"]) == ("line", "7")


def test_a_trace_of_opentelemetry_is_taken_where_none_is_told(audit: AuditClient, recorded: Recorded) -> None:
    from opentelemetry import trace

    span = trace.NonRecordingSpan(trace.SpanContext(int("ab" * 16, 16), 1, is_remote=False))
    with trace.use_span(span):
        audit.emit("in", resource_type="r", resource_id=1)
        audit.emit("told", resource_type="r", resource_id=1, trace_id="mine")
        with context(trace_id="bound"):
            audit.emit("bound", resource_type="r", resource_id=1)
    audit.emit("out", resource_type="r", resource_id=1)
    assert [event.get("trace_id") for event in recorded] == ["ab" * 16, "mine", "bound", None]


def test_opentelemetry_is_not_imported_by_us() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom sealstream.client import AuditClient\nAuditClient().emit('a', resource_type='r', "
        "resource_id=1)\nloaded = [m for m in sys.modules if m.split('.')[0] in ('opentelemetry', 'pytest', 'django', "
        "'sqlalchemy', 'pydantic', 'attrs')]\nassert not loaded, loaded\nimport os; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
