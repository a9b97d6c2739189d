"""What is known of a process and of a chain, as it was told, and what is said of it. Shapes alone; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sealstream.health.asking import Archived, Producers, RolledUp, Sealed, Signed, Stored, Trouble
from sealstream.health.letters import DeadLetters
from sealstream.layout import Figure

__all__ = ["ChainView", "Finding", "LateReview", "ProcessView"]


class Finding(NamedTuple):
    """`about`: the process or store; `page`: where it says what to do, empty where the words do."""

    severity: Literal["wrong", "unknown", "note"]
    about: str
    words: str
    page: str = ""


class ProcessView(NamedTuple):
    """One process. `state`: the local supervisor's word, None where nobody was asked. `url`: of its figures, empty
    where none is known; `trouble`: why they could not be had. `alive`, `ready`: None where it was not asked.
    `running_s`: for how long the supervisor has it run, after so many `restarts`; `last_error`: what it said before its
    last end, where it ended by itself.
    """

    name: str
    state: str | None = None
    exit_code: int | None = None
    url: str = ""
    trouble: str = ""
    alive: bool | None = None
    ready: bool | None = None
    because: tuple[str, ...] = ()
    runbook: str = ""
    running_s: float | None = None
    restarts: int = 0
    last_error: str = ""
    told: Mapping[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def figure(self, figure: Figure, **labels: str) -> float | None:
        """The value with these labels, if it was told."""
        wanted = set(labels.items())
        found = (value for (name, has), value in self.told.items() if name == figure.name and wanted <= set(has))
        return next(found, None)


class LateReview(NamedTuple):
    """A period, as people write it, whose review was due at `due_at` (seconds since 1970)."""

    period: str
    due_at: float


class ChainView(NamedTuple):
    """One chain, by its stores. `stored` None: no DSN is set; `archived` None: there is no archive; `rolled_up` None:
    nobody rolls it up. `late_reviews`: the oldest first; None: nobody has to review it, or nobody says.

    `behind_since`: when the first entry came to Kafka that Postgres does not hold; `untold_since`: that is not rolled
    up. `began_at`: when the first entry that Kafka has came, asked where no segment has ended. `unarchived_since`: when
    the first segment ended, asked where the archive holds nothing. Times in seconds since 1970; None: not asked, or not
    answered.
    """

    chain: str
    closed: bool
    segment_entries: int
    segment_seconds: int
    sealed: Sealed | Trouble
    signed: Signed | Trouble
    letters: DeadLetters | Trouble
    producers: Producers | Trouble
    stored: Stored | Trouble | None
    archived: Archived | Trouble | None
    behind_since: float | None = None
    began_at: float | None = None
    unarchived_since: float | None = None
    rolled_up: RolledUp | Trouble | None = None
    untold_since: float | None = None
    late_reviews: tuple[LateReview, ...] | None = None

    def members(self) -> dict[str, Any]:
        """For programs."""
        parts: dict[str, Any] = {}
        for name in ("sealed", "signed", "letters", "producers", "stored", "archived", "rolled_up"):
            part = getattr(self, name)
            parts[name] = {"trouble": part.reason} if isinstance(part, Trouble) else part and part._asdict()
        since = {name: getattr(self, name) for name in ("behind_since", "began_at", "unarchived_since", "untold_since")}
        late = self.late_reviews and [each._asdict() for each in self.late_reviews]
        return {"chain": self.chain, "closed": self.closed, **parts, **since, "late_reviews": late}
