"""Invoices are looked at, approved and paid. Every request, every login and every change of an invoice is in the log
without a line here; views say what they alone know.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from django.contrib.auth import authenticate, login
from django.contrib.auth.decorators import permission_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.views.decorators.http import require_POST
from examples.apps.django_app.models import Invoice

from sealstream.integrations.django import describe


@require_POST
def enter(request: HttpRequest) -> HttpResponse:
    """Log in. Beside the request's event there is a `login`, by the authentication's own signals."""
    user = authenticate(request, username=request.POST["name"], password=request.POST["password"])
    if user is None:
        return JsonResponse({"error": "name or password is wrong"}, status=401)
    login(request, user)
    return JsonResponse({"user": user.pk})


def show(request: HttpRequest, invoice_id: int) -> HttpResponse:
    """Whoever is logged in may look."""
    if not request.user.is_authenticated:
        raise PermissionDenied
    invoice = get_object_or_404(Invoice, pk=invoice_id)
    return JsonResponse({"supplier": invoice.supplier, "cents": invoice.cents, "state": invoice.state})


@require_POST
@permission_required("django_app.approve_invoice", raise_exception=True)
def approve(request: HttpRequest, invoice_id: int) -> HttpResponse:
    """Two events: the request's, by the business's word for it, and `update` with old and new values, which is in the
    log exactly if the transaction commits.
    """
    describe(action="invoice.approve", reason=request.POST.get("reason"))
    with transaction.atomic():
        invoice = get_object_or_404(Invoice.objects.select_for_update(), pk=invoice_id)
        if invoice.state != "open":
            return JsonResponse({"error": f"is {invoice.state}"}, status=409)
        invoice.state, invoice.approved_by = "approved", request.user
        invoice.account_password = request.POST.get("account_password", invoice.account_password)
        invoice.save()
    return JsonResponse({"state": invoice.state})


@require_POST
def pay(request: HttpRequest, invoice_id: int) -> HttpResponse:
    """What goes wrong is in the log with the class of what went wrong, never its text."""
    raise ConnectionError(f"the bank does not answer for invoice {invoice_id}")


def export(request: HttpRequest) -> StreamingHttpResponse:
    """All invoices, slowly. Somebody who goes away before the end leaves a failure."""

    def lines() -> Iterator[bytes]:
        for invoice in Invoice.objects.order_by("pk").values("pk", "supplier", "cents"):
            yield json.dumps(invoice).encode() + b"\n"
            time.sleep(0.1)

    return StreamingHttpResponse(lines(), content_type="application/x-ndjson")


urlpatterns = [
    path("health", lambda _request: HttpResponse("ok")),
    path("login", enter),
    path("invoices/export", export),
    path("invoices/<int:invoice_id>", show),
    path("invoices/<int:invoice_id>/approval", approve),
    path("invoices/<int:invoice_id>/payment", pay),
]
