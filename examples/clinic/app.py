"""A patient-record API that keeps an audit log: users, roles, denials, failures, changes, break-glass access.

    SEALSTREAM_BOOTSTRAP=127.0.0.1:19092 python -m uvicorn --factory examples.clinic.app:create_app

Every request becomes one audit event by the middleware. Handlers say what only they know with `describe`. Where the
business has a better word than "patch:/patients/...", the handler emits that event itself and leaves the request's out
(`emitted_already`), so nothing is logged twice. Breaking the glass is an event in its own right, beside the request's.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

from examples.clinic.people import USERS, Clinic, Role, Session
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from sealstream.client import AuditClient
from sealstream.integrations.asgi import AuditMiddleware, describe, emitted_already

Reason = Annotated[str | None, Header(alias="X-Access-Reason", max_length=500)]


class Login(BaseModel):
    """Name and password."""

    name: str
    password: str


class Change(BaseModel):
    """New values of a record; what is absent stays."""

    allergies: str | None = Field(None, max_length=200)
    medication: str | None = Field(None, max_length=200)


class Appointment(BaseModel):
    """When, and what for."""

    at: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$")
    purpose: str = Field(min_length=3, max_length=200)


class Invoice(BaseModel):
    """What a patient owes; `ordered_by`: the user for whom the billing service acts."""

    patient_id: str
    cents: int = Field(gt=0)
    ordered_by: str


def create_app(audit: AuditClient | None = None) -> FastAPI:
    """The clinic. `audit`: its client; by default one made from SEALSTREAM_BOOTSTRAP, SEALSTREAM_CHAIN and others."""
    if audit is None:
        audit = AuditClient.from_env(source={"service": "clinic", "version": "1.0", "environment": "example"})

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await audit.aclose()

    app = FastAPI(title="Clinic", lifespan=lifespan)
    proxies = os.environ.get("CLINIC_TRUSTED_PROXIES", "127.0.0.1").split(",")
    app.add_middleware(AuditMiddleware, client=audit, trusted_proxies=proxies, exclude={"/health"})
    _add_routes(app, audit, Clinic())
    return app


def _add_routes(app: FastAPI, audit: AuditClient, clinic: Clinic) -> None:
    def session(authorization: Annotated[str, Header()] = "") -> Session:
        """Who asks. Runs in a worker thread; the request's event knows the actor all the same."""
        found = clinic.sessions.get(authorization.removeprefix("Bearer "))
        if found is None:
            raise HTTPException(401, "log in first")
        describe(actor_id=found.user.id, actor_type=found.user.actor_type, session_id=found.id, tenant="north")
        return found

    LoggedIn = Annotated[Session, Depends(session)]

    def allow(who: Session, *roles: Role) -> None:
        if who.user.role not in roles:
            raise HTTPException(403, f"not for a {who.user.role}")

    def record_of(patient_id: str) -> dict[str, str]:
        if patient_id not in clinic.records:
            raise HTTPException(404, "no such patient")
        return clinic.records[patient_id]

    def may_read(who: Session, patient_id: str, reason: str | None) -> None:
        """Doctors and nurses read their own patients' records; another's only by breaking the glass, with a reason."""
        allow(who, "doctor", "nurse")
        if patient_id in who.user.patients:
            return
        if not reason:
            raise HTTPException(403, "not your patient: give X-Access-Reason")
        audit.emit("break_glass", resource_type="patient_record", resource_id=patient_id, reason=reason)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "audit": audit.stats()._asdict()}

    @app.post("/login")
    async def login(asked: Login) -> dict[str, str]:
        known = USERS.get(asked.name)  # nobody has shown yet who asks; whose account it is, is known all the same
        describe(action="login", resource_type="user_account", resource_id=known.id if known else asked.name)
        made = clinic.log_in(asked.name, asked.password)
        if made is None:
            raise HTTPException(401, "name or password is wrong")
        token, who = made
        describe(actor_id=who.user.id, actor_type=who.user.actor_type, session_id=who.id, tenant="north")
        return {"token": token}

    @app.get("/patients/{patient_id}")
    def contact_details(patient_id: str, who: LoggedIn) -> dict[str, str]:
        allow(who, "doctor", "nurse", "clerk", "admin")
        return {"patient_id": patient_id, "name": record_of(patient_id)["name"]}

    @app.get("/patients/{patient_id}/record")
    def read_record(patient_id: str, who: LoggedIn, reason: Reason = None) -> dict[str, str]:
        describe(action="read", resource_type="patient_record", resource_id=patient_id, reason=reason)
        may_read(who, patient_id, reason)
        return record_of(patient_id)

    @app.patch("/patients/{patient_id}/record")
    async def change_record(patient_id: str, change: Change, who: LoggedIn, reason: Reason = None) -> dict[str, str]:
        describe(action="write", resource_type="patient_record", resource_id=patient_id, reason=reason)
        allow(who, "doctor")
        record = record_of(patient_id)
        new = {name: value for name, value in change.model_dump(exclude_none=True).items() if record[name] != value}
        audit.emit(
            "write",
            resource_type="patient_record",
            resource_id=patient_id,
            reason=reason,
            changed_fields=sorted(new),
            old_values={name: record[name] for name in new},
            new_values=new,
        )
        emitted_already()  # the event above says it all; a request that fails has one nevertheless
        record.update(new)
        return record

    @app.post("/patients/{patient_id}/export")
    def export_record(patient_id: str, who: LoggedIn, reason: Reason = None) -> dict[str, Any]:
        describe(action="export", resource_type="patient_record", resource_id=patient_id, reason=reason)
        allow(who, "admin")
        if not reason:
            raise HTTPException(422, "an export needs X-Access-Reason")
        return {"patient_id": patient_id, "record": record_of(patient_id)}

    @app.post("/patients/{patient_id}/appointments", status_code=201)
    def make_appointment(patient_id: str, asked: Appointment, who: LoggedIn) -> dict[str, str]:
        allow(who, "clerk", "nurse")
        record_of(patient_id)
        appointment_id = f"appointment-{uuid4()}"
        clinic.appointments[appointment_id] = {"patient_id": patient_id, "at": asked.at, "purpose": asked.purpose}
        describe(action="appointment.make", resource_type="appointment", resource_id=appointment_id)
        describe(metadata={"patient_id": patient_id})
        return {"appointment_id": appointment_id}

    @app.delete("/appointments/{appointment_id}", status_code=204)
    def cancel_appointment(appointment_id: str, who: LoggedIn) -> None:
        allow(who, "clerk")
        if clinic.appointments.pop(appointment_id, None) is None:
            raise HTTPException(404, "no such appointment")

    @app.post("/invoices", status_code=201)
    def make_invoice(invoice: Invoice, who: LoggedIn) -> dict[str, str]:
        allow(who, "billing")
        record_of(invoice.patient_id)
        describe(action="invoice.make", resource_type="invoice", resource_id=f"invoice-{uuid4()}")
        describe(on_behalf_of=invoice.ordered_by, metadata={"patient_id": invoice.patient_id, "cents": invoice.cents})
        return {"status": "made"}

    @app.get("/reports/{name}")
    def report(name: str, who: LoggedIn) -> dict[str, str]:
        allow(who, "admin", "doctor")
        raise RuntimeError("the report server is a fax machine, and it is out of paper")
