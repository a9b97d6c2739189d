"""Records of logging and entries of structlog that are audit events, too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sealstream.client import AuditClient, context
from sealstream.client.testing import Recorded, recording
from sealstream.integrations.logging import AuditHandler
from sealstream.integrations.structlog import AuditProcessor


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as events:
        yield events


@pytest.fixture
def log(recorded: Recorded) -> Iterator[logging.Logger]:
    made = logging.getLogger("shop.billing")
    handler = AuditHandler(AuditClient("main", "127.0.0.1:1"), denials=[LookupError])
    made.addHandler(handler)
    made.setLevel(logging.INFO)
    yield made
    made.removeHandler(handler)
    made.propagate = True


def test_a_record_with_audit_is_an_event_and_others_are_not(log: logging.Logger, recorded: Recorded) -> None:
    log.info("nothing to audit")
    with context(actor_id="ann"):
        log.info(
            "invoice %s approved, password=%s",
            7,
            "hunter2",
            extra={"audit": {"action": "invoice.approve", "resource": ("invoice", 7), "metadata": {"cents": 5}}},
        )
    log.warning("no", extra={"audit": {"action": "a", "resource_type": "r", "resource_id": 1, "result": "denied"}})
    approved, denied = recorded
    assert (approved["action"], approved["resource_type"], approved["resource_id"]) == (
        "invoice.approve",
        "invoice",
        "7",
    )
    assert (approved["actor_id"], approved["result"]) == ("ann", "success")
    assert approved["metadata"] == {
        "logger": "shop.billing",
        "message": "invoice 7 approved, password=[redacted]",
        "cents": 5,
    }
    assert denied["result"] == "denied"


@pytest.mark.parametrize(
    ("error", "result"), [(PermissionError(), "denied"), (KeyError(), "denied"), (ValueError("secret text"), "failure")]
)
def test_a_record_of_an_exception(log: logging.Logger, recorded: Recorded, error: Exception, result: str) -> None:
    try:
        raise error
    except Exception:
        log.exception("failed", extra={"audit": {"action": "a", "resource": ("r", 1)}})
    event = recorded.one(result=result)
    assert event["metadata"]["error"] == type(error).__name__
    assert "secret text" not in str(event)


@pytest.mark.parametrize(
    "said", ["approve", {}, {"action": "a"}, 5, {"action": "a", "resource": ("r", 1), "result": "no"}]
)
def test_what_is_no_event_is_counted_and_raises_nothing(log: logging.Logger, recorded: Recorded, said: Any) -> None:
    log.info("text", extra={"audit": said})
    assert recorded == []
    assert recorded.dropped == {"invalid": 1}


def test_a_field_that_there_is_not_is_told_as_logging_tells_it(
    log: logging.Logger, recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    log.info("text", extra={"audit": {"action": "a", "resource": ("r", 1), "colour": "red"}})
    log.info("text", extra={"audit": {"action": "a", "resource": ("r", 1), 1: "red"}})
    assert recorded == []
    assert "colour" in capsys.readouterr().err
    assert recorded.dropped == {"invalid": 2}


def test_a_message_whose_arguments_do_not_fit_it_is_no_loss(log: logging.Logger, recorded: Recorded) -> None:
    log.propagate = False  # pytest's own handlers raise
    log.info("%d files", "many", extra={"audit": {"action": "a", "resource": ("r", 1)}})
    assert recorded.one()["metadata"]["message"] == "%d files"


def test_structlog(recorded: Recorded) -> None:
    out: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, entry: Any) -> Any:
        out.append(dict(entry))
        raise structlog.DropEvent

    processor = AuditProcessor(AuditClient("main", "127.0.0.1:1"))
    log = structlog.wrap_logger(None, processors=[processor, structlog.processors.format_exc_info, keep])
    log.info("plain", n=1)
    log.info("approved", n=2, audit={"action": "invoice.approve", "resource": ("invoice", 7)})
    try:
        raise PermissionError("secret text")
    except PermissionError as error:
        log.error("by flag", exc_info=True, audit={"action": "flag", "resource": ("r", 1)})
        log.error("by value", exc_info=error, audit={"action": "value", "resource": ("r", 1)})
    log.info("wrong", audit={"action": "a", "resource": ("r", 1), "colour": "red"})
    assert [(event["action"], event["result"]) for event in recorded] == [
        ("invoice.approve", "success"),
        ("flag", "denied"),
        ("value", "denied"),
    ]
    assert recorded[0]["metadata"] == {"message": "approved"}
    assert [entry["event"] for entry in out] == ["plain", "approved", "by flag", "by value", "wrong"]
    assert all("audit" not in entry for entry in out)
    assert recorded.dropped == {"invalid": 1}
    assert out[1]["n"] == 2
