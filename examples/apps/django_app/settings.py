"""Settings of the invoice approval: what the audit log needs is the three lines that name it."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

SECRET_KEY = "an example's, of no use elsewhere"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "examples.apps.django_app.views"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "sealstream.integrations.django",
    "examples.apps.django_app",
]
MIDDLEWARE = [
    "sealstream.integrations.django.AuditMiddleware",  # first: what it does not enclose, it does not see
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
SEALSTREAM_AUDIT = {
    "models": ["django_app.Invoice"],
    "outbox": {"source": {"service": "invoices"}},  # changes are rows of the transaction that makes them
    "exclude": ["/health"],
}

_database = urlsplit(os.environ["INVOICES_DSN"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _database.hostname,
        "PORT": _database.port,
        "NAME": _database.path.lstrip("/"),
        "USER": _database.username,
        "PASSWORD": unquote(_database.password or ""),
    }
}
