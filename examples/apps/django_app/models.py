"""What is approved and paid."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models


class Invoice(models.Model):
    """`state`: open, then approved. `account_password`: of the supplier's portal, which no log may ever hold."""

    supplier = models.TextField()
    cents = models.IntegerField()
    state = models.TextField(default="open")
    approved_by = models.ForeignKey(User, models.PROTECT, null=True)
    account_password = models.TextField(default="")

    class Meta:
        permissions = [("approve_invoice", "Can approve invoices")]
