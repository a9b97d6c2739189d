"""What a view binds and describes, in one thread that serves request after request; and what can't be an event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from sealstream.client import AuditClient, bind, bind_shared, bound, clear, context
from sealstream.client.testing import Recorded, recording
from sealstream.integrations.flask import Actor, audit_requests, describe


class Strange:
    """Neither true nor false, nor a text."""

    def __bool__(self) -> bool:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


class Marked(str):
    """As Django's SafeString: `str` of it is itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as events:
        yield events
    clear()


@pytest.fixture
def http(recorded: Recorded) -> FlaskClient:
    audit, app = AuditClient("main", "127.0.0.1:1"), Flask(__name__)
    audit_requests(
        app, audit, actor=lambda asked: Actor(asked.headers["X-User"]) if "X-User" in asked.headers else None
    )

    def public() -> str:
        audit.emit("seen", resource_type="r", resource_id=1)
        return "ok"

    def admin() -> str:
        bind(actor_id="root", actor_type="admin", tenant="north", reason="asked")
        return "ok"

    def shared() -> str:
        bind_shared(reason="asked by phone")
        return "ok"

    def said(**fields: Any) -> Any:
        def view() -> str:
            describe(**fields)
            return "ok"

        return view

    views = {
        "public": public,
        "admin": admin,
        "shared": shared,
        "text": said(metadata="a text"),
        "zero": said(resource_type="row", resource_id=0),
        "strange": said(resource_id=Strange()),
        "marked": said(reason=Marked("why"), metadata={"note": Marked("é")}),
    }
    for name, view in views.items():
        app.add_url_rule(f"/{name}", name, view)
    return app.test_client()


def who(recorded: Recorded) -> list[tuple[Any, ...]]:
    return [(event["actor_id"], event["actor_type"], event.get("tenant"), event.get("reason")) for event in recorded]


def test_what_a_view_binds_ends_with_its_request(http: FlaskClient, recorded: Recorded) -> None:
    nobody, root = ("anonymous", "anonymous", None, None), ("root", "admin", "north", "asked")
    for path in ("/public", "/admin", "/public"):
        http.get(path)
    assert who(recorded) == [nobody, nobody, root, nobody, nobody]
    assert bound() == {}


def test_whom_a_view_binds_goes_before_whom_the_application_names(http: FlaskClient, recorded: Recorded) -> None:
    http.get("/admin", headers={"X-User": "ann"})
    http.get("/public", headers={"X-User": "ann"})
    ann = ("ann", "user", None, None)
    assert who(recorded) == [("root", "admin", "north", "asked"), ann, ann]


def test_what_is_bound_around_the_requests_stays(http: FlaskClient, recorded: Recorded) -> None:
    with context(tenant="all"):
        http.get("/public", headers={"X-User": "ann"})
        assert bound() == {"tenant": "all"}
    assert {event["tenant"] for event in recorded if event["action"] == "seen"} == {"all"}


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("shared", "reason", "asked by phone"),
        ("text", "metadata", "a text"),
        ("zero", "resource_id", "0"),
        ("marked", "reason", "why"),
        ("marked", "metadata", "é"),
    ],
)
def test_what_a_view_says_is_in_the_event(
    http: FlaskClient, recorded: Recorded, path: str, field: str, value: str
) -> None:
    assert http.get(f"/{path}").text == "ok"
    event = recorded.one()
    said = event[field]
    assert said == value or value in said.values()


def test_what_can_t_be_an_event_is_counted(http: FlaskClient, recorded: Recorded) -> None:
    assert http.get("/strange").text == "ok"
    assert recorded == []
    assert recorded.dropped == {"invalid": 1}
