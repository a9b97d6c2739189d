"""`SinkReplay`: one user's sink, filled from Kafka or the archive, proven, and put in a live one's place.

The sink's own position says where to go on, so starting, and going on after a kill, are the same lines. With `afresh`
a second target is filled beside the live one, which is read meanwhile; it takes the live one's place only when what it
holds folds to the signed roots, by the class's own `swap`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sealstream.archive import ArchiveSettings
from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainSettings
from sealstream.rebuild.archive_view import ArchiveView
from sealstream.rebuild.entries import FromArchive, FromKafka
from sealstream.rebuild.own_sink import OwnSink, Progress, fill_sink, prove_sink
from sealstream.rebuild.reconciliation import kafka_notes
from sealstream.rebuild.spans import Span, spans_between
from sealstream.verify.signed import signed_sizes

__all__ = ["SinkReplay"]


class SinkReplay:
    """Fills `target`, or (`afresh`) `<target>.beside`, from the archive or, where that is None, from Kafka."""

    def __init__(
        self,
        chain: ChainSettings,
        make: Callable[[str], OwnSink],
        target: str,
        archive: ArchiveSettings | str | Path | None,
        kafka: KafkaSettings | None,
        *,
        afresh: bool = False,
    ) -> None:
        self._chain = chain
        self._make = make
        self._target = target
        self._archive = archive
        self._kafka = kafka
        self._source: FromArchive | FromKafka
        if archive is not None:
            self._source = FromArchive(archive, chain.name)
        elif kafka is not None:
            self._source = FromKafka(kafka, chain)
        else:
            raise Misconfigured("nothing to replay from: name Kafka or the archive")
        self.filling = f"{target}.beside" if afresh else target
        if afresh and not callable(getattr(make, "swap", None)):
            raise Misconfigured("the sink's class has no `swap`: it can't put one target in another's place (--afresh)")
        self._sink: OwnSink | None = make(self.filling)

    @property
    def position(self) -> int:
        """How many entries the sink holds."""
        return self._open.position()

    def fill(self, progress: Progress = lambda _done, _total: None) -> int:
        """Stores what the source has beyond the sink's position; how many. Nothing is read where there is nothing."""
        stop = self._source.end()
        if self._open.position() == stop:
            return 0
        return fill_sink(self._open, self._chain, self._source, self._spans(), stop, progress=progress)

    def prove(self) -> int | None:
        """The newest signed size that the sink's own hashes fold to; None: its class can't tell. Raises `Forked`."""
        return prove_sink(self._open, self._chain, self._source, self._spans())

    def swap(self) -> None:
        """Puts what was filled beside in the live one's place."""
        self.close_sink()
        self._make.swap(self.filling, self._target)  # type: ignore[attr-defined]

    def close_sink(self) -> None:
        """Gives the sink back. May be called twice."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()

    def close(self) -> None:
        """Gives everything back."""
        self.close_sink()
        self._source.close()

    @property
    def _open(self) -> OwnSink:
        if self._sink is None:
            self._sink = self._make(self._target)
        return self._sink

    def _spans(self) -> list[Span]:
        notes = []
        if self._archive is not None:
            view = ArchiveView(self._archive, self._chain.name)
            notes = view.notes()
            view.close()
        elif self._kafka is not None:
            notes = kafka_notes(self._kafka, self._chain)
        sizes, _ = signed_sizes(notes, self._chain.vkey)
        if not sizes:
            raise Misconfigured(
                f"nothing is signed of chain {self._chain.name} yet: there is nothing to hold entries to"
            )
        return spans_between(sizes)
