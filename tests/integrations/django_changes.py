"""Changes of two models on SQLite, as a process of its own (settings are Django's for ever): prints the events."""

from __future__ import annotations

import json

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["sealstream.integrations.django"],
    SEALSTREAM_AUDIT={},
    SECRET_KEY="of a test",
)
django.setup()

from django.db import connection, models  # noqa: E402 - models want Django set up

from sealstream.client.testing import recording  # noqa: E402
from sealstream.integrations.django.changes import watch  # noqa: E402


class Owner(models.Model):
    class Meta:
        app_label = "shop"


class Invoice(models.Model):
    cents = models.IntegerField()
    owner = models.ForeignKey(Owner, null=True, on_delete=models.SET_NULL)
    tags = models.ManyToManyField(Owner, related_name="tagged")

    class Meta:
        app_label = "shop"


class Seen(Invoice):
    class Meta:
        app_label = "shop"
        proxy = True


def main() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Owner)
        editor.create_model(Invoice)
    watch(Invoice)
    watch(Invoice)
    with recording() as events:
        owner = Owner.objects.create(id=5)
        invoice = Invoice.objects.create(id=1, cents=1)
        invoice.owner_id = owner.pk
        invoice.save(update_fields=["owner_id"])
        owner.tagged.add(invoice)
        owner.tagged.remove(invoice)
        invoice.tags.add(owner)
        owner.tagged.clear()
        Seen.objects.create(id=2, cents=2)
        seen = Seen.objects.get(id=1)
        seen.cents = 7
        seen.save()
        seen.delete()
        names = ("action", "resource_type", "resource_id", "old_values", "new_values")
        print(json.dumps([[event.get(name) for name in names] for event in events]))


if __name__ == "__main__":
    main()
