"""A help desk in Flask: customers see their own tickets, agents see all and close them.

SEALSTREAM_CLIENT_MODE=spool SEALSTREAM_CLIENT_SPOOL_DIRECTORY=audit-spool gunicorn examples.apps.flask_app.app:app
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Flask, Response, abort, request, session

from sealstream.client import AuditClient, changes
from sealstream.integrations.flask import audit_requests, describe, emitted_already

PASSWORDS = {"eve": "eve's swordfish", "customer-1": "one swordfish", "customer-2": "two swordfish"}
AGENTS = {"eve"}
# In memory, where a real one has a database.
tickets = {n: {"customer": f"customer-{1 + n % 2}", "state": "open"} for n in range(200)}
customers = {n: {"email": f"{n}@old.example", "password": f"old swordfish {n}"} for n in range(200)}

audit = AuditClient.from_env()
app = Flask(__name__)
app.secret_key = "an example's, of no use elsewhere"
audit_requests(app, audit, actor=lambda _asked: session.get("user"), exclude={"/health"})


@app.errorhandler(PermissionError)
def forbidden(_error: PermissionError) -> tuple[str, int]:
    """What the business forbids, in HTTP's words."""
    return "not for you", 403


@app.get("/health")
def health() -> str:
    """Left out of the log."""
    return "ok"


@app.post("/login")
def login() -> str:
    """A wrong password is a denial of that account, by somebody unknown."""
    name = request.form["name"]
    describe(action="login", resource_type="user_account", resource_id=name)
    if PASSWORDS.get(name) != request.form["password"]:
        abort(401)
    session["user"] = name
    return "welcome"


@app.get("/tickets/<int:ticket_id>")
def show(ticket_id: int) -> dict[str, str]:
    """The request's own event says who looked at which ticket."""
    if "user" not in session:
        abort(401)
    if session["user"] not in AGENTS | {tickets[ticket_id]["customer"]}:
        raise PermissionError
    return tickets[ticket_id]


@app.post("/tickets/<int:ticket_id>/closing")
def close(ticket_id: int) -> dict[str, str]:
    """An event of the business in place of the request's; a request that fails has its own nevertheless."""
    with audit.action("ticket.close", ("ticket", ticket_id), reason=request.form.get("reason")) as action:
        if session.get("user") not in AGENTS:
            raise PermissionError
        before = dict(tickets[ticket_id])
        tickets[ticket_id]["state"] = "closed"
        action.changes(before, tickets[ticket_id])
        emitted_already()
    return tickets[ticket_id]


@app.patch("/customers/<int:customer_id>")
def change(customer_id: int) -> str:
    """Old and new values of what changed. The password's are `[redacted]` before anything leaves the process."""
    if session.get("user") not in AGENTS:
        raise PermissionError
    before = dict(customers[customer_id])
    customers[customer_id].update(request.form.to_dict())
    describe(action="customer.change", **changes(before, customers[customer_id]))
    return "changed"


@app.post("/tickets/<int:ticket_id>/replies")
def reply(ticket_id: int) -> str:
    """What goes wrong is in the log with the class of what went wrong, never its text."""
    raise ConnectionError(f"the mail server does not answer for ticket {ticket_id}")


@app.get("/tickets/export")
def export() -> Response:
    """All tickets, slowly. Somebody who goes away before the end leaves a failure."""

    def lines() -> Iterator[str]:
        for ticket_id, ticket in tickets.items():
            yield f"{ticket_id} {ticket['state']}\n"
            time.sleep(0.1)

    return Response(lines(), content_type="text/plain")
