"""How commands that read the log record it: in the control topic of the chain that they read, as who runs them.

A crash before the record leaves nothing shown (`sealstream.access` says the rest).
"""

from __future__ import annotations

from sealstream.access import AccessLog
from sealstream.cli.settings import Settings

__all__ = ["access_log"]


def access_log(settings: Settings) -> AccessLog:
    """Where these settings' reads are recorded; `close` it."""
    continued = {name: section.continued_as for name, section in settings.chains.items() if section.continued_as}
    return AccessLog(settings.kafka_settings(), settings.kafka.prefix, continued=continued)
