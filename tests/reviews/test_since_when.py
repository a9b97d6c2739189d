"""Since when a chain is to be reviewed: by the stores that answer, and never by silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

import sealstream.search
from sealstream.cli import reviewing
from sealstream.cli.reviewing import began_at, overdue_by_postgres
from sealstream.cli.settings import Settings
from sealstream.errors import SealstreamError, Unavailable

SEALED = {seq: datetime(2026, 1 + seq, 5, tzinfo=UTC) for seq in range(12)}
NOTHING = len(SEALED)


class Stores:
    """Twelve entries, one a month. Of each store the seq from which on it has them; None: it does not answer."""

    def __init__(self, *, postgres: int | None, archive: int | None, kafka: int | None) -> None:
        self.postgres, self.archive, self.kafka = postgres, archive, kafka
        self.settings = Settings.model_validate(
            {
                "postgres": {"reader_dsn": "postgresql://nobody/log"},
                "archive": {"bucket": "b"},
                "reviews": {"every": "month"},
                "chains": {"main": {"vkey": "key"}},
            }
        )

    def entry(self, seq: int) -> Any:
        return SimpleNamespace(written=SimpleNamespace(seq=seq, sequenced_at=f"{SEALED[seq]:%Y-%m-%dT%H:%M:%S.%fZ}"))

    def entry_0(self, _settings: Settings, _chain: str) -> Any:
        if self.kafka == 0 or self.archive == 0:
            return self.entry(0)
        if self.kafka == NOTHING:
            return None
        raise Unavailable("entry 0 can't be read")

    def beginning(self, _archive: Any, _chain: str) -> Any:
        if self.archive is None:
            raise Unavailable("the archive does not answer")
        return SimpleNamespace(first=self.archive) if self.archive < NOTHING else None

    def records(self, _kafka: Any, _topic: str) -> Iterator[list[Any]]:
        if self.kafka is not None and self.kafka < NOTHING:
            yield [SimpleNamespace(value=self.kafka)]


class Postgres:
    def __init__(self, stores: Stores) -> None:
        if stores.postgres is None:
            raise Unavailable("Postgres does not answer")
        self.first = stores.postgres

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None: ...

    def rows(self, _chain: str, first: int, stop: int) -> Iterator[list[Any]]:
        found = [SimpleNamespace(body=seq) for seq in SEALED if max(first, self.first) <= seq < stop]
        yield from [found] if found else []

    def seq_bounds(self, _chain: str) -> tuple[int, int] | None:
        return (self.first, NOTHING - 1) if self.first < NOTHING else None

    def statements(self, _chain: str, _actions: Sequence[str]) -> list[bytes]:
        return []


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Stores:
    made = Stores(**request.param)
    archived = SimpleNamespace(entry=lambda key: SimpleNamespace(body=int(key[5:])), close=lambda: None)
    monkeypatch.setattr(reviewing, "PostgresStore", lambda _dsn: Postgres(made))
    monkeypatch.setattr(reviewing, "check_listens", lambda _servers: None)
    monkeypatch.setattr(reviewing, "decode_entry", made.entry)
    monkeypatch.setattr(reviewing, "entry_0", made.entry_0)
    monkeypatch.setattr(reviewing, "archive_settings", lambda _settings: None)
    monkeypatch.setattr(reviewing, "archived_beginning", made.beginning)
    monkeypatch.setattr(reviewing, "read_until_end", made.records)
    monkeypatch.setattr(sealstream.search, "ArchiveSource", lambda _archive, _chains: archived)
    return made


def of(postgres: int | None, archive: int | None, kafka: int | None) -> dict[str, int | None]:
    return {"postgres": postgres, "archive": archive, "kafka": kafka}


@pytest.mark.parametrize(
    ("stores", "first"),
    [
        pytest.param(of(0, 0, 0), 0, id="all is online"),
        pytest.param(of(4, 0, 6), 0, id="months have left Postgres"),
        pytest.param(of(4, 2, 6), 2, id="entry 0 was destroyed"),
        pytest.param(of(4, NOTHING, 6), 4, id="all that had left was destroyed"),
        pytest.param(of(None, None, 0), 0, id="Kafka alone answers"),
    ],
    indirect=["stores"],
)
def test_a_chain_is_reviewed_from_its_first_entry_on_that_is_left(stores: Stores, first: int) -> None:
    assert began_at(stores.settings, "main") == SEALED[first]


@pytest.mark.parametrize("stores", [of(NOTHING, NOTHING, NOTHING)], indirect=True)
def test_a_chain_without_an_entry_has_not_begun(stores: Stores) -> None:
    assert began_at(stores.settings, "main") is None


@pytest.mark.parametrize(
    "stores",
    [
        pytest.param(of(None, 2, 6), id="Postgres does not answer"),
        pytest.param(of(4, None, 6), id="the archive does not answer"),
        pytest.param(of(NOTHING, NOTHING, 6), id="no store has what left Kafka"),
    ],
    indirect=True,
)
def test_a_store_that_does_not_answer_shortens_nobodys_duty(stores: Stores) -> None:
    with pytest.raises(SealstreamError):
        began_at(stores.settings, "main")


@pytest.mark.parametrize("stores", [of(4, 0, 6)], indirect=True)
def test_an_entry_0_that_is_there_and_can_not_be_read_is_not_one_that_was_destroyed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_settings: Settings, _chain: str) -> Any:
        raise Unavailable("entry 0 can't be read")

    monkeypatch.setattr(reviewing, "entry_0", unreadable)
    with pytest.raises(Unavailable):
        began_at(stores.settings, "main")


@pytest.mark.parametrize("stores", [of(4, None, 0)], indirect=True)
def test_without_an_archive_what_has_left_is_nobodys_duty(stores: Stores) -> None:
    stores.settings.archive.bucket = ""
    assert began_at(stores.settings, "main") == SEALED[4]


@pytest.mark.parametrize("stores", [of(None, None, 6)], indirect=True)
def test_without_postgres_kafka_alone_is_asked(stores: Stores) -> None:
    stores.settings.postgres.reader_dsn = ""
    assert began_at(stores.settings, "main") == SEALED[6]


@pytest.mark.parametrize("stores", [of(NOTHING, 0, 0), of(4, 0, 0)], indirect=True)
def test_a_postgres_that_holds_nothing_does_not_say_that_nothing_is_late(stores: Stores) -> None:
    now = datetime(2026, 8, 11, tzinfo=UTC)
    if stores.postgres == NOTHING:
        with pytest.raises(Unavailable, match="holds no entry of chain main"):
            overdue_by_postgres(stores.settings, "main", now)
    else:
        late = overdue_by_postgres(stores.settings, "main", now)
        assert [str(each.period) for each in late] == ["2026-05", "2026-06", "2026-07"]
