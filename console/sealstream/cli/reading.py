"""How commands that read the log record it: in the control topic of the chain that they read, as who runs them.

A crash before the record leaves nothing shown (`sealstream.access` says the rest).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager

from sealstream.access import Access, AccessLog, person_at_this_machine
from sealstream.cli.settings import Settings
from sealstream.search import Found

__all__ = ["ReadLog", "access_log"]


def access_log(settings: Settings, timeout_s: float = 10.0) -> AccessLog:
    """Where these settings' reads are recorded; `close` it."""
    continued = {name: section.continued_as for name, section in settings.chains.items() if section.continued_as}
    return AccessLog(settings.kafka_settings(), settings.kafka.prefix, continued=continued, timeout_s=timeout_s)


class ReadLog:
    """What one command reads. `query` as it was asked; `chains`: those in which something may be found."""

    def __init__(self, settings: Settings, what: str, query: str, chains: Sequence[str]) -> None:
        self._settings = settings
        self._what = what
        self._query = query
        self._chains = chains

    def answered(self, store: str, found: Iterable[Found]) -> None:
        """Record these entries, which are not shown yet. Raises `NotRecorded`: then they must not be."""
        rows = Counter(dict.fromkeys(self._chains, 0))
        rows.update(each.chain for each in found)
        self.counted(store, rows)

    def counted(self, store: str, rows: dict[str, int]) -> None:
        """Record an answer by chain. Raises `NotRecorded`."""
        reader = person_at_this_machine()
        with closing(access_log(self._settings)) as log:
            for chain, count in rows.items():
                log.record(reader, Access(chain, self._what, store, self._query), count)

    @contextmanager
    def streaming(self, store: str) -> Iterator[Callable[[Iterable[Found] | Mapping[str, int]], None]]:
        """Record a stream's beginning, and its end with what the function that this gives was told of: entries, or how
        many of which chain.
        """
        reader = person_at_this_machine()
        with closing(access_log(self._settings)) as log, ExitStack() as held:
            streams = {
                chain: held.enter_context(log.streamed(reader, Access(chain, self._what, store, self._query)))
                for chain in self._chains
            }

            def given(batch: Iterable[Found] | Mapping[str, int]) -> None:
                rows = batch if isinstance(batch, Mapping) else Counter(each.chain for each in batch)
                for chain, count in rows.items():
                    streams[chain].rows += count

            yield given
