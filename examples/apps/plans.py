"""What is asked of each application, and which events each request must leave behind.

The rules are written down here once more, by hand, from what the applications are for: a plan that took them from the
applications' code could not find them wrong. Each request has an id of its own, the trace of its `traceparent` header,
which all frameworks' middleware writes into each event.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from examples.apps.comparing import Event

__all__ = ["PLANS", "Ask", "Plan", "django_plan", "express_plan", "fastapi_plan", "flask_plan"]

REDACTED = "[redacted]"
_CSRF = "c" * 32


class Ask(NamedTuple):
    """One request. `who`: whose session it uses. `leaves`: the client goes away before the response has ended."""

    request_id: str
    who: str | None
    method: str
    path: str
    status: int
    events: tuple[Event, ...]
    form: Mapping[str, str] | None = None
    json: Any = None
    leaves: bool = False


@dataclass
class Plan:
    """One application's. `logins` come first; `session`: the headers of somebody who has got this answer to a login, or
    of nobody.
    """

    framework: str
    service: str
    session: Callable[[httpx.Response | None], dict[str, str]]
    rng: random.Random
    logins: list[Ask] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)

    def ask(
        self,
        who: str | None,
        call: str,
        status: int,
        *events: tuple[Any, ...],
        actor: str | None = None,
        **more: Any,
    ) -> Ask:
        """`call`: method and path. `events`: action, resource's type and id, result, old and new values.

        `actor`: how the log names who asks, where that is not `who`.
        """
        request_id = f"{self.rng.getrandbits(128):032x}"
        method, path = call.split(" ")
        by = (self.service, request_id, actor or who or "anonymous")
        expected = (
            Event._make([*by, *map(str, said[:4]), json.dumps(said[4], sort_keys=True) if len(said) == 5 else ""])
            for said in events
        )
        return Ask(request_id, who, method, path, status, tuple(expected), **more)

    def shuffled(self) -> Plan:
        """Itself; those who leave are asked first, so that no restart does it for them."""
        self.rng.shuffle(self.asks)
        self.asks.sort(key=lambda ask: not ask.leaves)
        return self


def django_plan(rng: random.Random, rounds: int) -> Plan:
    """Invoices: ann may look (she is user 1), bob may approve (user 2)."""

    def session(answer: httpx.Response | None) -> dict[str, str]:
        logged_in = "" if answer is None else f"; sessionid={answer.cookies['sessionid']}"
        return {"Cookie": f"csrftoken={_CSRF}{logged_in}", "X-CSRFToken": _CSRF}

    plan = Plan("Django", "invoices", session, rng)
    ask, keys = plan.ask, {"ann": "1", "bob": "2"}
    for name, key in keys.items():
        form = {"name": name, "password": f"{name}'s swordfish"}
        events = [("login", "user_account", key, "success"), ("post:/login", "api_endpoint", "/login", "success")]
        plan.logins.append(ask(name, "POST /login", 200, *events, actor=key, form=form))
    route = "/invoices/{invoice_id}"
    for n in range(1, rounds + 1):
        look, path = rng.randint(1, 199), f"/invoices/{n}"
        approved: dict[str, Any] = {
            "old_values": {"account_password": REDACTED, "approved_by_id": None, "state": "open"},
            "new_values": {"account_password": REDACTED, "approved_by_id": 2, "state": "approved"},
        }
        form = {"reason": "within budget", "account_password": f"new swordfish {n}"}
        granted = [("invoice.approve", "invoice", n, "success"), ("update", "invoice", n, "success", approved)]
        plan.asks += [
            ask("ann", f"GET /invoices/{look}", 200, (f"get:{route}", "invoice", look, "success"), actor="1"),
            ask(None, f"GET /invoices/{look}", 403, (f"get:{route}", "invoice", look, "denied")),
            ask("bob", f"POST {path}/approval", 200, *granted, actor="2", form=form),
            ask("ann", f"POST {path}/approval", 403, (f"post:{route}/approval", "invoice", n, "denied"), actor="1"),
            ask("bob", f"POST {path}/payment", 500, (f"post:{route}/payment", "invoice", n, "failure"), actor="2"),
        ]
        if n % 4 == 0:
            nowhere = f"/nothing/{n}"
            plan.asks += [
                ask("ann", "GET /invoices/9999", 404, (f"get:{route}", "invoice", 9999, "failure"), actor="1"),
                ask("bob", f"GET {nowhere}", 404, ("get:unmatched", "api_endpoint", nowhere, "failure"), actor="2"),
            ]
    for account in ("ann", "mallory"):
        form = {"name": account, "password": "a wrong swordfish"}
        events = [
            ("login", "user_account", account, "denied"),
            ("post:/login", "api_endpoint", "/login", "denied"),
        ]
        plan.asks.append(ask(None, "POST /login", 401, *events, form=form))
    export = ("get:/invoices/export", "api_endpoint", "/invoices/export", "failure")
    plan.asks.append(ask("ann", "GET /invoices/export", 200, export, actor="1", leaves=True))
    return plan.shuffled()


def flask_plan(rng: random.Random, rounds: int) -> Plan:
    """A help desk: eve is an agent; customer-1 has the even tickets, customer-2 the odd."""

    def session(answer: httpx.Response | None) -> dict[str, str]:
        return {} if answer is None else {"Cookie": f"session={answer.cookies['session']}"}

    plan = Plan("Flask", "help-desk", session, rng)
    ask = plan.ask
    for name, password in {"eve": "eve's swordfish", "customer-1": "one swordfish"}.items():
        logged_in = ("login", "user_account", name, "success")
        plan.logins.append(ask(name, "POST /login", 200, logged_in, form={"name": name, "password": password}))
    route = "/tickets/{ticket_id}"
    for n in range(rounds):
        mine, others, path = 2 * rng.randint(0, 99), 2 * rng.randint(0, 99) + 1, f"/tickets/{n}"
        closed = {"old_values": {"state": "open"}, "new_values": {"state": "closed"}}
        changed = {
            "old_values": {"email": f"{n}@old.example", "password": REDACTED},
            "new_values": {"email": f"{n}@new.example", "password": REDACTED},
        }
        form = {"email": f"{n}@new.example", "password": f"new swordfish {n}"}
        refused = [("ticket.close", "ticket", n, "denied"), (f"post:{route}/closing", "ticket", n, "denied")]
        plan.asks += [
            ask("customer-1", f"GET /tickets/{mine}", 200, (f"get:{route}", "ticket", mine, "success")),
            ask("customer-1", f"GET /tickets/{others}", 403, (f"get:{route}", "ticket", others, "denied")),
            ask(None, f"GET {path}", 401, (f"get:{route}", "ticket", n, "denied")),
            ask("eve", f"POST {path}/closing", 200, ("ticket.close", "ticket", n, "success", closed)),
            ask("customer-1", f"POST {path}/closing", 403, *refused),
            ask("eve", f"PATCH /customers/{n}", 200, ("customer.change", "customer", n, "success", changed), form=form),
            ask("eve", f"POST {path}/replies", 500, (f"post:{route}/replies", "ticket", n, "failure")),
        ]
        if n % 4 == 0:
            nowhere = f"/nothing/{n}"
            plan.asks.append(ask("eve", f"GET {nowhere}", 404, ("get:unmatched", "api_endpoint", nowhere, "failure")))
    for account in ("eve", "mallory"):
        form = {"name": account, "password": "a wrong swordfish"}
        plan.asks.append(ask(None, "POST /login", 401, ("login", "user_account", account, "denied"), form=form))
    export = ("get:/tickets/export", "api_endpoint", "/tickets/export", "failure")
    plan.asks.append(ask("eve", "GET /tickets/export", 200, export, leaves=True))
    return plan.shuffled()


def fastapi_plan(rng: random.Random, rounds: int) -> Plan:
    """A laboratory: dr.li releases results; patient-1 has the even samples, patient-2 the odd."""

    def session(answer: httpx.Response | None) -> dict[str, str]:
        return {} if answer is None else {"Cookie": f"session={answer.cookies['session']}"}

    plan = Plan("FastAPI", "laboratory", session, rng)
    ask = plan.ask
    for name, password in {"dr.li": "li's swordfish", "patient-1": "one swordfish"}.items():
        logged_in = ("login", "user_account", name, "success")
        plan.logins.append(ask(name, "POST /login", 200, logged_in, json={"name": name, "password": password}))
    route = "/samples/{sample_id}"
    for n in range(rounds):
        mine, others, path = 2 * rng.randint(0, 99), 2 * rng.randint(0, 99) + 1, f"/samples/{n}"
        released: dict[str, Any] = {
            "old_values": {"access_token": REDACTED, "released": False, "result": None},
            "new_values": {"access_token": REDACTED, "released": True, "result": "negative"},
        }
        refused = [("result.release", "sample", n, "denied"), (f"post:{route}/release", "sample", n, "denied")]
        release = f"POST {path}/release?result=negative"
        plan.asks += [
            ask("patient-1", f"GET /samples/{mine}", 200, (f"get:{route}", "sample", mine, "success")),
            ask("patient-1", f"GET /samples/{others}", 403, (f"get:{route}", "sample", others, "denied")),
            ask(None, f"GET {path}", 401, (f"get:{route}", "sample", n, "denied")),
            ask("dr.li", release, 200, ("result.release", "sample", n, "success", released)),
            ask("patient-1", release, 403, *refused),
            ask("dr.li", f"POST {path}/label", 500, (f"post:{route}/label", "sample", n, "failure")),
        ]
        if n % 4 == 0:
            nowhere = f"/nothing/{n}"
            unmatched = ("get:unmatched", "api_endpoint", nowhere, "failure")
            plan.asks += [
                ask("dr.li", f"GET {nowhere}", 404, unmatched, actor="anonymous"),  # no route has asked who it is
                ask("dr.li", "GET /samples/none", 422, (f"get:{route}", "sample", "none", "failure")),
            ]
    for account in ("dr.li", "mallory"):
        wrong = {"name": account, "password": "a wrong swordfish"}
        plan.asks.append(ask(None, "POST /login", 401, ("login", "user_account", account, "denied"), json=wrong))
    export = ("get:/samples/export", "api_endpoint", "/samples/export", "failure")
    plan.asks.append(ask("dr.li", "GET /samples/export", 200, export, leaves=True))
    return plan.shuffled()


def express_plan(rng: random.Random, rounds: int) -> Plan:
    """A shop: sam refunds; customer-1 has the even orders, customer-2 the odd."""

    def session(answer: httpx.Response | None) -> dict[str, str]:
        return {} if answer is None else {"Authorization": f"Bearer {answer.json()['token']}"}

    plan = Plan("Express", "shop", session, rng)
    ask = plan.ask
    for name, password in {"sam": "sam's swordfish", "customer-1": "one swordfish"}.items():
        logged_in = ("login", "user_account", name, "success")
        plan.logins.append(ask(name, "POST /login", 200, logged_in, json={"name": name, "password": password}))
    route = "/orders/{orderId}"
    for n in range(rounds):
        mine, others, path = 2 * rng.randint(0, 99), 2 * rng.randint(0, 99) + 1, f"/orders/{n}"
        refunded = {"old_values": {"state": "paid"}, "new_values": {"state": "refunded"}}
        new_card = {"card_number": "4111111111111111", "holder": f"new-{n}"}
        changed = {
            "old_values": {"card_number": REDACTED, "holder": f"old-{n}"},
            "new_values": {"card_number": REDACTED, "holder": f"new-{n}"},
        }
        refund = [
            ("order.refund", "order", n, "success", refunded),
            (f"post:{route}/refund", "order", n, "success"),
        ]
        plan.asks += [
            ask("customer-1", f"GET /orders/{mine}", 200, (f"get:{route}", "order", mine, "success")),
            ask("customer-1", f"GET /orders/{others}", 403, (f"get:{route}", "order", others, "denied")),
            ask(None, f"GET {path}", 401, ("get:unmatched", "api_endpoint", path, "denied")),  # before any route
            ask("sam", f"POST {path}/refund", 204, *refund),
            ask("customer-1", f"POST {path}/refund", 403, (f"post:{route}/refund", "order", n, "denied")),
            ask(
                *("sam", f"PUT /customers/{n}/card", 204),
                ("card.change", "customer", n, "success", changed),
                json=new_card,
            ),
            ask("sam", f"POST {path}/shipment", 500, (f"post:{route}/shipment", "order", n, "failure")),
        ]
        if n % 4 == 0:
            nowhere = f"/nothing/{n}"
            plan.asks.append(ask("sam", f"GET {nowhere}", 404, ("get:unmatched", "api_endpoint", nowhere, "failure")))
    for account in ("sam", "mallory"):
        wrong = {"name": account, "password": "a wrong swordfish"}
        plan.asks.append(ask(None, "POST /login", 401, ("login", "user_account", account, "denied"), json=wrong))
    export = ("get:/orders/export", "api_endpoint", "/orders/export", "failure")
    plan.asks.append(ask("sam", "GET /orders/export", 200, export, leaves=True))
    return plan.shuffled()


PLANS = {"django": django_plan, "flask": flask_plan, "fastapi": fastapi_plan, "express": express_plan}
# Never in a log: each of them is sent by some request, and handed to the audit log by some application.
SECRETS = ("swordfish", "4111111111111111", "5500000000000004")
