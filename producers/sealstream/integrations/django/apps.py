"""What Django calls when its applications are loaded: the signals of logins and models are connected then."""

from __future__ import annotations

from django.apps import AppConfig

from sealstream.integrations.django.configuration import configured

__all__ = ["AuditConfig"]


class AuditConfig(AppConfig):  # type: ignore[misc]
    """`sealstream.integrations.django` among the INSTALLED_APPS."""

    name = "sealstream.integrations.django"
    label = "sealstream_audit"
    verbose_name = "Audit log"

    def ready(self) -> None:
        """Connect what is configured. Raises `Misconfigured`, and Django's errors for models that there are not."""
        from django.apps import apps

        from sealstream.integrations.django import changes, database_context, logins

        options = configured()
        if options.get("logins", True) and apps.is_installed("django.contrib.auth"):
            logins.connect()
        if options.get("models"):
            changes.watch(*(apps.get_model(label) for label in options["models"]))
        if options.get("database_context"):
            database_context.connect()
