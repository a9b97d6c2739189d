"""One chain looked at: its stores are asked at the same time, and what they say becomes observations. Reads only.

A store that does not answer is not judged by, and hides nothing of what the others say; only when Kafka does not say
how far the chain is, there is nothing to be seen (`Unavailable`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from sealstream.anomaly.pipeline import DeadLettersObserved, Observation
from sealstream.archive import ArchiveSettings
from sealstream.errors import SealstreamError, Unavailable
from sealstream.events import parse_timestamp
from sealstream.health.asking import Archived, Signed, Stored, Trouble, archived, at_once, signed, stored, waiting_since
from sealstream.kafka import KafkaSettings, last_record, offset_reaching
from sealstream.layout import ChainSettings, ChainTopics, Entry, decode_entry
from sealstream.layout.pipeline_watch import WatchState
from sealstream.lookout.looking import Looked, Seen, of_sinks, of_statements, of_the_chain
from sealstream.sealing import open_checkpoint

__all__ = ["ChainEyes", "News"]

News = Callable[[int], tuple[Sequence[Entry], int, bool]]
"""The statements from this entry on, the entry to go on from, and whether there are more."""

_ANSWER_S = 20.0
_ARCHIVE_EVERY_S = 60.0


class ChainEyes:
    """Of one chain. `reader_dsn` empty: there is no Postgres; `archive` None: no archive. `reviews`: what follows from
    statements about reviews that are new, and from the moment (seconds since 1970).
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        chain: ChainSettings,
        news: News,
        reviews: Callable[[Sequence[Entry], float], Sequence[Observation]],
        *,
        reader_dsn: str = "",
        archive: ArchiveSettings | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._kafka = kafka
        self._chain = chain
        self._topics = ChainTopics.of(chain.name, chain.prefix)
        self._news = news
        self._reviews = reviews
        self._reader_dsn = reader_dsn
        self._archive = archive
        self._archived: tuple[float, Archived] | None = None
        self._wall = wall
        self._troubles: dict[str, str] = {}
        self._log = structlog.get_logger().bind(process="watch", chain=chain.name)

    def look(self, state: WatchState | None) -> Looked:
        """What is to be seen now, beyond what the state before knows (None: there is none, and nothing old counts)."""
        seen = self._seen()
        now, name = self._wall(), self._chain.name
        observations: list[Observation] = []
        if state is None:
            state = WatchState(seen.size)
            observations.append(DeadLettersObserved(chain=name, at_s=int(now), refused=0))
        answers = at_once({"statements": lambda: self._news(state.next_seq)}, _ANSWER_S)
        statements: Sequence[Entry] = ()
        next_seq, more = state.next_seq, False
        if (news := self._answered("statements", answers["statements"])) is not None:
            statements, next_seq, more = news
        told = of_statements(name, statements, state.refused)
        observations += told.observations
        observations += of_the_chain(name, seen, int(now))
        observations += of_sinks(name, seen, int(now))
        observations += self._answered("reviews", self._of_reviews(statements, now)) or ()
        return Looked(observations, next_seq, told.refused, more)

    def _seen(self) -> Seen:
        """Two rounds: how far everything is, and since when whoever is behind has been."""
        questions: dict[str, Callable[[], Any]] = {
            "chain": self._ask_chain,
            "signed": lambda: signed(self._kafka, self._chain),
        }
        if self._reader_dsn:
            questions["Postgres"] = lambda: stored(self._reader_dsn, self._chain)
        if self._archive is not None:
            questions["archive"] = self._ask_archive
        answers = at_once(questions, _ANSWER_S)
        chain = answers["chain"]
        if isinstance(chain, Trouble):
            raise Unavailable(f"chain {self._chain.name}: {chain.reason}")
        seen: Seen = chain
        noted: Signed | None = self._answered("signed", answers["signed"])
        rows: Stored | None = self._answered("Postgres", answers.get("Postgres"))
        objects: Archived | None = self._answered("archive", answers.get("archive"))
        since: dict[str, Callable[[], float | None]] = {}
        if rows is not None and rows.size < seen.size:
            since["behind"] = lambda: waiting_since(self._kafka, self._topics.chain, rows.next_offset)
        if objects is not None and noted is not None and objects.size < noted.segment_size:
            since["unarchived"] = lambda: self._unarchived_since(objects.size)
        found = at_once(since, _ANSWER_S)
        behind, unarchived = (self._answered(what, found.get(what)) for what in ("behind", "unarchived"))
        return seen._replace(
            signed=noted, stored=rows, behind_since=behind, archived=objects, unarchived_since=unarchived
        )

    def _ask_chain(self) -> Seen:
        last = last_record(self._kafka, self._topics.chain)
        if last is None:
            return Seen(0, None)
        written = decode_entry(last.value or b"").written
        return Seen(written.seq + 1, parse_timestamp(written.sequenced_at).timestamp())

    def _ask_archive(self) -> Archived:
        """Asked less often, since each question is paid for."""
        assert self._archive is not None
        now = self._wall()
        if self._archived is None or not 0 <= now - self._archived[0] < _ARCHIVE_EVERY_S:
            self._archived = now, archived(self._archive, self._chain)
        return self._archived[1]

    def _unarchived_since(self, size: int) -> float | None:
        """When the first segment had ended that reaches beyond so many entries."""
        topic, vkey = self._topics.segments, self._chain.vkey
        first = offset_reaching(
            self._kafka, topic, lambda record: open_checkpoint(record.value or b"", vkey).size > size
        )
        return waiting_since(self._kafka, topic, first)

    def _of_reviews(self, statements: Sequence[Entry], now: float) -> Sequence[Observation] | Trouble:
        try:
            return self._reviews(statements, now)
        except SealstreamError as error:
            return Trouble(str(error), error.runbook)

    def _answered(self, what: str, answer: Any) -> Any:
        """The answer, or None; that there is none is said when it begins and when it ends."""
        if not isinstance(answer, Trouble):
            if self._troubles.pop(what, None) is not None:
                self._log.info("answers again", what=what)
            return answer
        if what not in self._troubles:
            self._log.warning("not seen: there is no answer", what=what, reason=answer.reason)
        self._troubles[what] = answer.reason
        return None
