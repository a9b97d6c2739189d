"""An invoice whose changes are recorded by signals, and a payment whose changes are recorded by triggers."""

from __future__ import annotations

from django.db import models

from sealstream.integrations.django.triggers import audit_triggers


class Label(models.Model):
    name = models.TextField()

    class Meta:
        app_label = "shop"


class Invoice(models.Model):
    customer = models.TextField()
    cents = models.IntegerField()
    api_token = models.TextField(default="", blank=True)
    labels = models.ManyToManyField(Label)

    class Meta:
        app_label = "shop"


class Payment(models.Model):
    amount = models.DecimalField(max_digits=30, decimal_places=2)
    paid = models.BooleanField(default=False)
    card_number = models.TextField(default="")
    note = models.TextField(default="")
    at = models.DateTimeField(null=True)
    details = models.JSONField(default=dict)
    scan = models.BinaryField(default=b"")
    modified = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "shop"
        triggers = audit_triggers(source={"service": "shop"}, ignore=["modified"])
