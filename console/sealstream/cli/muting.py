"""Which alerts are nobody's work now, for the forward sink: mutes as they are sealed, looked up again and again.

Postgres is asked, where an index knows the statements. Where it can't be asked, what was known last holds; where
nothing is known, nothing is muted: an alert too many is the smaller evil.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from sealstream.alerts import Book, fold
from sealstream.cli.sealed import sealed_statements
from sealstream.cli.settings import Settings
from sealstream.errors import SealstreamError
from sealstream.layout.alerts import Alert

__all__ = ["mutes_in_force"]

_AGAIN_S = 30.0
_ACTIONS = ("alert.muted", "alert.unmuted")


def mutes_in_force(settings: Settings) -> Callable[[Alert], bool]:
    """Whether an alert is muted at this moment, known to half a minute. Safe from several threads."""
    lock = threading.Lock()
    books: dict[str, tuple[float, Book]] = {}

    def book_of(chain: str) -> Book:
        with lock:
            read_at, book = books.get(chain, (float("-inf"), Book({}, {})))
            if time.monotonic() - read_at > _AGAIN_S:
                with suppress(SealstreamError):  # what was known holds; the process' own health says what is away
                    book = fold(sealed_statements(settings, chain, _ACTIONS))
                books[chain] = time.monotonic(), book
            return book

    def is_muted(alert: Alert) -> bool:
        if not settings.postgres.reader_dsn:
            return False
        return book_of(alert.chain).mute_of(alert.detector, alert.subject, alert.chain, datetime.now(UTC)) is not None

    return is_muted
