"""The tables: invoices, and the outbox beside them."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from sealstream.integrations.django import outbox_migration


class Migration(migrations.Migration):
    initial = True
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations = [
        migrations.CreateModel(
            name="Invoice",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("supplier", models.TextField()),
                ("cents", models.IntegerField()),
                ("state", models.TextField(default="open")),
                ("account_password", models.TextField(default="")),
                (
                    "approved_by",
                    models.ForeignKey(settings.AUTH_USER_MODEL, django.db.models.deletion.PROTECT, null=True),
                ),
            ],
            options={"permissions": [("approve_invoice", "Can approve invoices")]},
        ),
        migrations.RunSQL(*outbox_migration()),
    ]
