"""Which store answers, and what happens to answers when stores lose, hide or change something."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.long_runs import long_run
from tests.pipeline import as_role, say, sql
from tests.search.conftest import NOW, Searchable
from tests.search.test_search_answers import expected

from sealstream.archive import ArchiveStore
from sealstream.cli.settings import write_settings
from sealstream.errors import Misconfigured, Unavailable
from sealstream.layout.tables import Roles
from sealstream.postgres.driver import Session
from sealstream.search import (
    SORTS,
    ArchiveSource,
    Having,
    PostgresSource,
    SearchTooBroad,
    Stores,
    choose_source,
    counting,
    parse,
)
from sealstream.search.archive_reading import Limit, reading

pytestmark = long_run

QUERIES = ("", "actor:user-1* -action:read", "after:2026-09-01 before:2026-11-01", "seq:40..120", "after:0001-01-01")


@pytest.fixture(scope="module")
def shortened(searchable: Searchable, make_database: Callable[..., str], pipeline_roles: Roles) -> str:
    """A database that has dropped September: the reader's DSN."""
    admin = make_database(urlsplit(searchable.admin).path.lstrip("/"))
    sql(admin, "ALTER TABLE audit_log DETACH PARTITION audit_log_2026_09")
    return as_role(admin, pipeline_roles.reader)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.mark.parametrize("text", QUERIES)
def test_what_postgres_no_longer_has_comes_from_the_archive(searchable, shortened, said, text):
    query = parse(text, now=NOW)
    source = choose_source(Stores(shortened, searchable.bucket), searchable.chains, query, say=said.append)
    try:
        for sort in list(SORTS)[len(text) % 2 :: 2]:
            wanted = expected(searchable.entries(), query, sort)
            assert [found.place for batch in source.stream(query, sort=sort) for found in batch] == wanted
            found, cursor = [], None
            while True:
                page = source.page(query, sort=sort, limit=150, after=cursor)
                found += [each.place for each in page.entries]
                cursor = page.next
                if cursor is None:
                    break
            assert found == wanted
        whole = PostgresSource(searchable.reader, searchable.chains)
        for sort in ("-count", "value"):
            counts = source.count_by(query, "actor", having=Having(">=", 3), sort=sort)
            assert counts == whole.count_by(query, "actor", having=Having(">=", 3), sort=sort)
        whole.close()
        assert source.name == "postgres and archive"
        assert "the archive answers for what Postgres no longer has of chain" in said[0]
    finally:
        source.close()


def test_what_postgres_has_is_not_looked_for_in_the_archive(searchable, shortened, said):
    for dsn, text in ((searchable.reader, ""), (shortened, "after:2026-11-01"), (shortened, "sealed_after:2026-11-01")):
        source = choose_source(Stores(dsn, searchable.bucket), searchable.chains, parse(text, now=NOW), say=said.append)
        assert source.name == "postgres"
        source.close()
    assert said == []


def test_the_archive_answers_when_postgres_does_not(searchable, said):
    nobody = "postgresql://nobody@127.0.0.1:1/none"
    source = choose_source(Stores(nobody, searchable.bucket), searchable.chains, parse("", now=NOW), say=said.append)
    assert source.name == "archive"
    assert said[0].startswith("the archive answers, which ends a little before the chain")
    source.close()
    with pytest.raises(Unavailable):
        choose_source(Stores(nobody), searchable.chains, parse("", now=NOW))
    with pytest.raises(Misconfigured, match=r"postgres\.reader_dsn is not set"):
        choose_source(Stores(), searchable.chains, parse("", now=NOW))


@pytest.fixture
def hidden(searchable: Searchable, s3: Any) -> Iterator[ArchiveStore]:
    """The archive after somebody has put other objects over two of its segments, and hidden one."""
    store = ArchiveStore(searchable.bucket, searchable.chains[0])
    objects = [stored for _name, stored in store.objects()]
    other = store.read(objects[2].key, objects[2].versions[0])
    made = []
    for key, body in ((objects[0].key, other), (objects[1].key, b"not Parquet"), (objects[3].key, None)):
        answer = (
            s3.delete_object(Bucket=searchable.bucket.bucket, Key=key)
            if body is None
            else s3.put_object(Bucket=searchable.bucket.bucket, Key=key, Body=body)
        )
        made.append((key, answer["VersionId"]))
    yield store
    for key, version in made:
        s3.delete_object(Bucket=searchable.bucket.bucket, Key=key, VersionId=version)
    store.close()


def test_newer_versions_and_delete_markers_change_no_answer_of_the_archive(searchable, hidden):
    source = ArchiveSource(searchable.bucket, searchable.chains)
    for text in ("", "actor:user-1", "-result:success"):
        query = parse(text, now=NOW)
        wanted = expected(searchable.archived(), query, "-timestamp")
        assert [each.place for each in source.page(query, limit=1_000).entries] == wanted
    assert list(source.remarks) == []
    source.close()


def test_an_archive_without_a_segment_says_what_it_lacks(searchable, tmp_path):
    chain = searchable.chains[0]
    store = ArchiveStore(searchable.bucket, chain)
    for number, (_name, stored) in enumerate(store.objects()):
        path = tmp_path / stored.key
        path.parent.mkdir(parents=True, exist_ok=True)
        if number != 1:
            path.write_bytes(store.read(stored.key, stored.versions[0]))
    store.close()
    source = ArchiveSource(tmp_path, [chain])
    assert source.page(parse("", now=NOW)).entries
    (remark,) = source.remarks
    assert f"chain {chain}: the archive lacks entries " in remark
    source.close()


def test_segments_in_which_nothing_can_be_are_not_opened(searchable):
    opened: list[int] = []
    source = ArchiveSource(searchable.bucket, searchable.chains, progress=lambda done, total: opened.append(total))
    query = parse(f"chain:{searchable.chains[0]} sealed_before:2026-09-21", now=NOW)
    assert [each.place for each in source.page(query, limit=1_000).entries] == expected(
        searchable.archived(), query, "-timestamp"
    )
    few = max(opened)
    source.page(parse("", now=NOW))
    assert few < max(opened) / 3
    source.close()


def test_a_copy_of_the_archive_in_a_folder_answers_the_same(searchable, tmp_path):
    for chain in searchable.chains:
        store = ArchiveStore(searchable.bucket, chain)
        for _name, stored in store.objects():
            path = tmp_path / stored.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.read(stored.key, stored.versions[0]))
        store.close()
    source = ArchiveSource(tmp_path, searchable.chains)
    query = parse("result:denied", now=NOW)
    assert [each.place for each in source.page(query, limit=1_000).entries] == expected(
        searchable.archived(), query, "-timestamp"
    )
    source.close()


def test_more_values_than_can_be_counted_are_refused(searchable, shortened, monkeypatch):
    monkeypatch.setattr(counting, "MOST_VALUES", 5)
    query = parse("kind:event", now=NOW)
    stores = Stores(shortened, searchable.bucket)
    for name, source in (("both", "auto"), ("postgres", "postgres"), ("archive", "archive")):
        asked = choose_source(stores, searchable.chains, query, source=source)
        with pytest.raises(SearchTooBroad, match=r"counting by actor: more than 5 different values.*after:"):
            asked.count_by(query, "actor", limit=2 if name == "both" else None)
        assert len(asked.count_by(query, "result", limit=10)) == 3
        asked.close()


def test_a_search_of_the_archive_ends_when_its_time_is_over(searchable):
    query = parse("reason:*", now=NOW)
    source = ArchiveSource(searchable.bucket, searchable.chains, timeout_s=1e-6)
    for ask in (
        lambda: source.page(query),
        lambda: source.count_by(query, "actor"),
        lambda: source.entry(str(uuid.uuid4())),
    ):
        with pytest.raises(SearchTooBroad, match=r"archive took longer than 1e-06 s.*narrow it, by sealed_after:"):
            ask()
    source.close()
    stores = Stores(archive=searchable.bucket, archive_timeout_s=60)
    patient = choose_source(stores, searchable.chains, query, source="archive")
    assert patient.page(query, limit=1).entries
    patient.close()


def test_a_query_that_reads_nothing_more_is_interrupted():
    begun = time.monotonic()
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3"
    with reading({}, lambda _done, _total: None, Limit.of(0.3)) as run, pytest.raises(SearchTooBroad):
        list(run(endless))
    assert time.monotonic() - begun < 10


def test_a_search_that_no_index_helps_ends_and_says_what_to_narrow(searchable, make_database, pipeline_roles):
    admin = make_database(urlsplit(searchable.admin).path.lstrip("/"))
    locked = Session(admin, "test")
    locked.run("locking", lambda connection: connection.execute("BEGIN; LOCK TABLE audit_log IN ACCESS EXCLUSIVE MODE"))
    source = PostgresSource(as_role(admin, pipeline_roles.reader), searchable.chains, timeout_s=0.2)
    query = parse("reason:nothing* metadata.ok:maybe", now=NOW)
    with pytest.raises(SearchTooBroad, match=r"no index helps with reason, metadata\.ok.*narrow it, by actor:"):
        source.page(query)
    locked.close()
    assert source.page(query).entries == []
    source.close()


def test_show_says_that_a_seal_does_not_hold(searchable, make_database, pipeline_roles, tmp_path):
    admin = make_database(urlsplit(searchable.admin).path.lstrip("/"))
    chain = searchable.chains[0]
    for statement in (
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "UPDATE audit_log SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"event\"', '\"evenT\"'), 'UTF8') "
        f"WHERE chain = '{chain}' AND seq = 42",
    ):
        sql(admin, statement)
    config = tmp_path / "sealstream.toml"
    config.write_bytes(searchable.config.read_bytes())
    write_settings(config, {"postgres": {"reader_dsn": as_role(admin, pipeline_roles.reader)}})
    shown = say(config, "show", f"{chain}/42", "--json")
    assert shown.code == 1
    found = say(config, "search", f"chain:{chain}", "seq:40..44", "--output", "ndjson")
    assert found.code == 1
    assert f"1 of these entries do not have the hash that is stored with them ({chain}/42)" in found.err
    assert len(found.out.splitlines()) == 5
    assert say(config, "show", f"{chain}/43").code == 0


def test_show_asks_the_archive_when_postgres_does_not_answer(searchable, tmp_path):
    config = tmp_path / "sealstream.toml"
    config.write_bytes(searchable.config.read_bytes())
    write_settings(config, {"postgres": {"reader_dsn": "postgresql://nobody@127.0.0.1:1/none"}})
    shown = say(config, "show", f"{searchable.chains[0]}/42")
    assert shown.code == 0
    assert "computed again from the bytes in archive" in shown.out
    assert shown.err.startswith("sealstream: the archive is asked: connecting to Postgres")


def test_an_unknown_place_in_an_unknown_chain_is_nowhere(searchable):
    source = ArchiveSource(searchable.bucket, searchable.chains)
    assert source.entry(str(uuid.uuid4())) is None
    assert source.entry("elsewhere/1") is None
    source.close()


def test_json_of_the_command_is_what_was_sealed_in_every_source(searchable):
    for source in ("postgres", "archive"):
        shown = say(searchable.config, "show", f"{searchable.chains[1]}/7", "--json", "--source", source)
        assert json.loads(shown.out) == json.loads(searchable.made[1].values[7])
