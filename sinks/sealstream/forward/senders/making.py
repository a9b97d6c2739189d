"""The sender that a target wants."""

from __future__ import annotations

import time
from collections.abc import Callable

from sealstream.forward.senders.mail import MailSender
from sealstream.forward.senders.requests import OtlpSender, PagerDutySender, SlackSender, WebhookSender
from sealstream.forward.senders.sending import Pause, Sender
from sealstream.forward.senders.splunk import SplunkSender
from sealstream.forward.senders.syslog import SyslogSender
from sealstream.forward.targets import Kind, Target

__all__ = ["sender_of"]


def sender_of(target: Target, pause: Pause, wall: Callable[[], float] = time.time) -> Sender:
    """Nothing is connected to yet. Raises `Misconfigured`: a certificate or a secret can't be used."""
    makers: dict[Kind, Callable[[], Sender]] = {
        "webhook": lambda: WebhookSender(target, wall),
        "slack": lambda: SlackSender(target),
        "pagerduty": lambda: PagerDutySender(target),
        "splunk-hec": lambda: SplunkSender(target, pause),
        "syslog": lambda: SyslogSender(target),
        "otlp": lambda: OtlpSender(target),
        "email": lambda: MailSender(target),
    }
    return makers[target.kind]()
