"""What a write changed, whatever the record is made of."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest
from sqlalchemy import LargeBinary, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, deferred, mapped_column

from sealstream.client import AuditClient, changes
from sealstream.client.testing import Recorded


@dataclasses.dataclass
class Data:
    name: str
    price: Decimal
    note: str | None = None


@attrs.define
class Attrs:
    name: str
    price: Decimal
    note: str | None = None


class Model(pydantic.BaseModel):
    name: str
    price: Decimal
    note: str | None = None


class Struct(msgspec.Struct):
    name: str
    price: Decimal
    note: str | None = None


class Named(NamedTuple):
    name: str
    price: Decimal
    note: str | None = None


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "row"
    name: Mapped[str] = mapped_column(primary_key=True)
    price: Mapped[Decimal]
    note: Mapped[str | None] = mapped_column(default=None)
    scan: Mapped[bytes | None] = deferred(mapped_column(LargeBinary, default=None))


KINDS = [Data, Attrs, Model, Struct, Named, dict, Row]


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_values_of_what_differs(kind: Callable[..., Any]) -> None:
    old, new = kind(name="a", price=Decimal("1.50"), note=None), kind(name="a", price=Decimal("2.00"), note="up")
    expected = {
        "changed_fields": ["price", "note"],
        "old_values": {"price": Decimal("1.50"), "note": None},
        "new_values": {"price": Decimal("2.00"), "note": "up"},
    }
    assert changes(old, new) == expected
    assert changes(old, old)["changed_fields"] == []
    assert changes(old, new, only=["note"])["changed_fields"] == ["note"]
    assert changes(old, new, ignore=["note"])["changed_fields"] == ["price"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_creation_and_a_deletion(kind: Callable[..., Any]) -> None:
    record = kind(name="a", price=Decimal(1), note=None)
    created, deleted = changes(None, record), changes(record, None)
    assert created["old_values"] == deleted["new_values"] == {}
    assert created["new_values"] == deleted["old_values"] == {"name": "a", "price": Decimal(1), "note": None}


def test_a_models_extra_fields_are_fields() -> None:
    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        name: str

    told = changes(Open(name="a", seen=1), Open(name="a", seen=2))  # type: ignore[call-arg]
    assert told == {"changed_fields": ["seen"], "old_values": {"seen": 1}, "new_values": {"seen": 2}}


def test_no_query_is_made_for_a_row(tmp_path: Any) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Row(name="a", price=Decimal(1), scan=b"x" * 9))
        session.commit()
        row = session.scalars(select(Row)).one()
        assert changes(None, row)["changed_fields"] == ["name", "price", "note"]  # `scan` is deferred
        core = session.execute(select(Row.name, Row.price)).one()
        assert changes(None, core)["new_values"] == {"name": "a", "price": Decimal(1)}
        before = {"name": "a", "price": Decimal(1)}
        row.name = "b"
        assert changes(before, row)["new_values"] == {"name": "b", "note": None}
        session.commit()  # which expires the row: nothing is known of it, and nothing was removed
        assert changes(before, row)["changed_fields"] == changes(None, row)["changed_fields"] == []
        assert changes({**before, "other": 1}, row)["changed_fields"] == ["other"]
    engine.dispose()


class Strange:
    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "strange"


def test_every_value_becomes_one_that_an_event_can_hold(recorded: Recorded) -> None:
    row = {
        "data": b"1234",
        "nested": Data("n", Decimal(1)),
        "list": [Model(name="m", price=Decimal(2))],
        "set": {3, 1},
        "naive": datetime(2026, 1, 2),
        "id": uuid.UUID(int=1),
        "strange": Strange(),
        "secret": pydantic.SecretStr("hunter2"),
        "password": "hunter2",
    }
    client = AuditClient("main", "127.0.0.1:1", strict=True)
    client.emit("write", resource_type="r", resource_id=1, **changes({"strange": Strange()}, row))
    event = recorded.one()
    assert event["new_values"] == {
        "data": {"bytes": 4, "sha256": "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4"},
        "nested": {"name": "n", "price": "1", "note": None},
        "list": [{"name": "m", "price": "2", "note": None}],
        "set": [1, 3],
        "naive": "2026-01-02T00:00:00",
        "id": "00000000-0000-0000-0000-000000000001",
        "strange": "strange",
        "secret": "[redacted]",
        "password": "[redacted]",
    }
    assert "hunter2" not in str(event)


def test_what_has_no_fields_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="the fields of int can't be told"):
        changes(1, 2)
