"""Once for a database: its tables, the accounts of ann (who may look) and bob (who may approve), and open invoices.

python -m examples.apps.django_app.prepare
"""

from __future__ import annotations

import os

import django
from django.core.management import call_command

PASSWORDS = {"ann": "ann's swordfish", "bob": "bob's swordfish"}
INVOICES = 200


def main() -> None:
    """Make all of it. Nobody acts here, so the log says nothing: `bulk_create` sends no signals."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.apps.django_app.settings")
    django.setup()
    from django.contrib.auth.models import Permission, User
    from examples.apps.django_app.models import Invoice

    call_command("migrate", verbosity=0)
    for name, password in PASSWORDS.items():
        User.objects.create_user(name, password=password)
    User.objects.get(username="bob").user_permissions.add(Permission.objects.get(codename="approve_invoice"))
    invoices = (Invoice(supplier=f"supplier-{n % 7}", cents=100 * n, account_password="old") for n in range(INVOICES))
    Invoice.objects.bulk_create(invoices)


if __name__ == "__main__":
    main()
