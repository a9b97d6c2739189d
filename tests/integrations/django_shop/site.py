"""A small site in Django, as the tests serve it; `prepare` makes its tables. The database is SHOP_DSN."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from asgiref.sync import sync_to_async
from django.apps import AppConfig
from django.conf import settings


class Shop(AppConfig):  # type: ignore[misc]
    name = "tests.integrations.django_shop"
    label = "shop"
    path = str(Path(__file__).parent)


dsn = urlsplit(os.environ["SHOP_DSN"])
settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="tests.integrations.django_shop.site",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "pgtrigger",
        "sealstream.integrations.django",
        "tests.integrations.django_shop.site.Shop",
    ],
    MIDDLEWARE=[
        "sealstream.integrations.django.AuditMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": dsn.path.lstrip("/"),
            "HOST": dsn.hostname,
            "PORT": dsn.port,
            "USER": dsn.username,
            "PASSWORD": dsn.password or "",
        }
    },
    SEALSTREAM_AUDIT={
        "models": ["shop.Invoice"],
        "outbox": os.environ.get("SHOP_OUTBOX") == "1",
        "database_context": True,
        "exclude": ["/health"],
        "trusted_proxies": ["127.0.0.1"],
    },
)
if __name__ == "tests.integrations.django_shop.site":
    django.setup()

from django.contrib.auth import authenticate, login, logout  # noqa: E402
from django.contrib.auth import models as auth  # noqa: E402
from django.core.exceptions import PermissionDenied  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import F  # noqa: E402
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse  # noqa: E402
from django.urls import include, path, re_path  # noqa: E402
from tests.integrations.django_shop.models import Invoice, Label, Payment  # noqa: E402

from sealstream.integrations.django import describe, outbox_migration  # noqa: E402

OK = HttpResponse


def prepare() -> None:
    """Once for a database."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(outbox_migration()[0])
    call_command("pgtrigger", "install", verbosity=0)
    auth.User.objects.create_user("ann", password="right", is_staff=True)


def enter(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["name"], password=request.POST["password"])
    if user is not None:
        login(request, user)
    return OK("in" if user else "try again")


def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return OK()


def status(_request: HttpRequest, code: int) -> HttpResponse:
    return OK(status=code)


def item(_request: HttpRequest, shop_id: int, item_id: str) -> HttpResponse:
    describe(reason="asked", metadata={"shelf": 3})
    return OK()


def forbidden(_request: HttpRequest) -> HttpResponse:
    raise PermissionDenied("secret text")


def broken(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("secret text")


def stream(_request: HttpRequest, parts: int) -> StreamingHttpResponse:
    def made() -> Iterator[bytes]:
        for number in range(parts):
            if number == 3:
                raise ValueError("broke off")
            yield b"part " * 1_000

    return StreamingHttpResponse(made())


def change_invoices(_request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        invoice = Invoice.objects.create(customer="bob", cents=5, api_token="t0ken")
        invoice.cents = 7
        invoice.save()
        invoice.save()  # nothing is new
        invoice.cents = F("cents") + 1
        invoice.customer = "not written"
        invoice.save(update_fields=["cents"])
        label = Label.objects.create(name="late")
        invoice.labels.add(label)
        invoice.labels.clear()
    try:
        with transaction.atomic():
            Invoice.objects.create(customer="rolled back", cents=0)
            raise ValueError
    except ValueError:
        pass
    Invoice.objects.get(pk=invoice.pk).delete()
    return OK()


def change_payments(_request: HttpRequest) -> HttpResponse:
    first, _second = Payment.objects.bulk_create(
        [Payment(amount="1.50", card_number="4111", details={"n": 12345678901234567890}, scan=b"ab"), Payment(amount=2)]
    )
    Payment.objects.filter(pk=first.pk).update(paid=True)
    Payment.objects.filter(pk=first.pk).update(paid=True)  # nothing is new
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_payment SET note = repeat('x', 70000) WHERE id = %s", [first.pk])
        cursor.execute("DELETE FROM shop_payment WHERE id = %s", [first.pk])
    try:
        with transaction.atomic():
            Payment.objects.all().delete()
            raise ValueError
    except ValueError:
        pass
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE shop_payment")
    return OK()


async def asynchronous(request: HttpRequest, number: int) -> HttpResponse:
    user: Any = await sync_to_async(lambda: request.user.pk)()  # `auser` is new in Django 5
    describe(metadata={"user": user})
    return OK()


async def async_stream(_request: HttpRequest) -> StreamingHttpResponse:
    async def made() -> Any:
        for _ in range(3):
            yield b"part " * 1_000

    return StreamingHttpResponse(made())


urlpatterns = [
    path("health", lambda _request: OK()),
    path("login", enter),
    path("logout", leave),
    path("status/<int:code>", status),
    path("shops/<int:shop_id>/", include([path("items/<slug:item_id>", item)])),
    re_path(r"^old/(?P<year>\d+)$", lambda _request, year: OK(), name="old-year"),
    path("forbidden", forbidden),
    path("broken", broken),
    path("stream/<int:parts>", stream),
    path("invoices", change_invoices),
    path("payments", change_payments),
    path("async/<int:number>", asynchronous),
    path("async-stream", async_stream),
]


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    """By gunicorn."""
    return _wsgi(environ, start_response)


if __name__ == "tests.integrations.django_shop.site":
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application

    _wsgi = get_wsgi_application()
    asgi = get_asgi_application()
