"""Alerts as e-mail: one, or several that waited together, as plain text with the JSON beside it. Pure.

The Message-ID follows from the alerts' ids, so a mail that comes twice is known by its readers' programs as one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from sealstream.forward.formats.wording import clipped, facts, search_command
from sealstream.forward.messages import Message, link_of
from sealstream.forward.targets import Target
from sealstream.layout.alerts import SEVERITIES, Alert

__all__ = ["mail_of"]

_SUBJECT_CHARACTERS = 180
_NAMESPACE = uuid.UUID("b6b0b3d6-3a59-5f0d-9a0e-6a6f5c3f2d11")
_NO_DOMAIN = re.compile(r"[^A-Za-z0-9.-]")


def mail_of(target: Target, messages: Sequence[Message]) -> EmailMessage:
    """One mail about these alerts, the worst first in its subject."""
    alerts = [message.alert for message in messages if message.alert is not None]
    worst = max(alerts, key=lambda alert: SEVERITIES.index(alert.severity))
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = clipped(_one_line(_subject(alerts, worst)), _SUBJECT_CHARACTERS)
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.recipients)
    mail["Date"] = format_datetime(datetime.fromisoformat(max(message.at for message in messages)).astimezone(UTC))
    mail["Message-ID"] = f"<{_identity(messages)}@{_NO_DOMAIN.sub('-', target.log.partition('/')[0]) or 'sealstream'}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday notice answers it
    if worst.severity == "critical":
        mail["Importance"] = "high"
    mail.set_content("\n\n".join(_text(target, message) for message in messages) + "\n", cte="quoted-printable")
    for message in messages:
        mail.add_attachment(message.value, "application", "json", filename=f"alert-{message.id}.json")
    return mail


def _subject(alerts: Sequence[Alert], worst: Alert) -> str:
    if len(alerts) == 1:
        return f"[{worst.severity}] {worst.summary}"
    return f"[{worst.severity}] {len(alerts)} alerts, the worst: {worst.summary}"


def _text(target: Target, message: Message) -> str:
    alert = message.alert
    assert alert is not None
    lines = [alert.summary, ""]
    lines += [f"{name:<9} {value}" for name, value in facts(alert)]
    lines.append(f"alert     {alert.id}")
    if alert.query:
        lines += ["", search_command(alert)]
    if link := link_of(target, message):
        lines += ["", link]
    return "\n".join(lines)


def _identity(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        return messages[0].id
    return str(uuid.uuid5(_NAMESPACE, "\n".join(message.id for message in messages)))


def _one_line(text: str) -> str:
    return " ".join(text.split())
