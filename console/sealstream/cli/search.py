"""`sealstream search`, `show`, `tail`: the log asked in GitHub's audit-log syntax, one entry shown, a chain followed.

They only read, and what is read is recorded in the log (`log.read`) before it is shown. What is said beside the answer
(who answers, that there is more, how far it is) goes to standard error, so that standard output can be piped. A reader
that closes the pipe, and Ctrl-C, end a command quietly.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from sealstream.cli.context import context_of
from sealstream.cli.harmless import harmless
from sealstream.cli.reading import ReadLog
from sealstream.cli.search_output import FORMATS, count_rows, destination, writer
from sealstream.cli.search_progress import SearchProgress
from sealstream.cli.settings import Settings
from sealstream.cli.showing import print_entry
from sealstream.cli.stores import archive_settings
from sealstream.cli.tailing import follow, last_found
from sealstream.errors import Misconfigured, Unavailable
from sealstream.mappings import SCHEMAS, SchemaName
from sealstream.search import (
    COUNT_SORTS,
    COUNTABLE,
    FIELDS,
    SORTS,
    SOURCES,
    TIME_KEYS,
    Covered,
    EntryPlace,
    Found,
    Having,
    Query,
    QueryError,
    SearchSource,
    Stores,
    choose_source,
    countable,
    covered_in_archive,
    covered_in_postgres,
    hint,
    nearest_key,
    parse,
    parse_having,
    parse_place,
    render,
    signature_refusal,
)
from sealstream.search.writing import MAPPED, shaped

__all__ = ["SEARCH_HELP", "QueryCommand", "search_command", "show_command", "tail_command"]

_NEGATED = re.compile(r"-[A-Za-z_][A-Za-z0-9_.]*:")
_MINUS = "\x1f-"  # so that the option parser takes `-action:read` for what it is

SEARCH_HELP = "\n\n".join(
    (
        "Search the log, in the syntax of GitHub's audit log.",
        "sealstream search actor:user-123 after:7d\n"
        "sealstream search -action:read resource:patient_record/456\n"
        "sealstream search result:denied --count-by actor --having '>5'\n"
        "sealstream search ip:10.0.0.0/8 after:2026-11-01 --all -o csv --file november.csv",
        "All terms must hold; a key that is written twice is found with any of its values; '-' before a key excludes. "
        "A value with spaces stands in quotes ('actor:\"ann b\"'). * in a value is any text: 'action:patient.*', "
        "'action:*.delete', 'user_agent:*curl*'; reason:* means 'has a reason'.",
        f"Keys: {', '.join(FIELDS)}, metadata.<name>.",
        f"Times: {', '.join(TIME_KEYS)}: a UTC date, a time such as 2026-11-01T08:00:00Z, or so long ago (7d, 24h, "
        "30m). With after: and before: it is asked when something happened, by its producer's clock (timestamp); with "
        "sealed_after: and sealed_before: when the log placed it (sequenced_at). The first moment is included, the "
        "last is not.",
        "Indexes help with actor, action, resource, result, ip, id, seq, kind and times. Other keys are answered by "
        "reading entries: narrow these by others.",
    )
)


class QueryCommand(TyperCommand):
    """A command whose arguments are a query: terms may begin with "-"."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_MINUS + arg[1:] if _NEGATED.match(arg) else arg for arg in args])


class _Format(StrEnum):
    table = "table"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"
    parquet = "parquet"


class _Source(StrEnum):
    auto = "auto"
    postgres = "postgres"
    archive = "archive"


class SchemaChoice(StrEnum):
    """Other people's schemas."""

    ocsf = "ocsf"
    ecs = "ecs"
    cloudevents = "cloudevents"


assert tuple(_Format) == FORMATS
assert tuple(SchemaChoice) == tuple(SCHEMAS)
assert tuple(_Source) == SOURCES

QueryArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[QUERY]...", help="key:value terms. None: everything.", show_default=False),
]
ChainsOption = Annotated[
    list[str] | None,
    typer.Option("--chain", help="Only this chain; may be repeated. Default: all in the settings.", show_default=False),
]
SchemaOption = Annotated[
    SchemaChoice | None,
    typer.Option("--as", help="Entries in other people's schema, as NDJSON (docs/schemas.md).", show_default=False),
]
SourceOption = Annotated[
    _Source,
    typer.Option(
        "--source",
        help="auto: Postgres, and the archive for what Postgres no longer has.",
    ),
]


def search_command(
    context: typer.Context,
    query: QueryArgument = None,
    chain: ChainsOption = None,
    source: SourceOption = _Source.auto,
    output: Annotated[_Format, typer.Option("--output", "-o", help="How entries are written.")] = _Format.table,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    schema: SchemaOption = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Write into this file, whole or not at all.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 100,
    everything: Annotated[bool, typer.Option("--all", help="All of them, however many.")] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            help=f"{', '.join(SORTS)}; with --count-by {', '.join(COUNT_SORTS)}. Default: newest first, most first.",
            show_default=False,
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="CURSOR", help="The next page: what the page before named.", show_default=False
        ),
    ] = None,
    count_by: Annotated[
        str | None,
        typer.Option(
            "--count-by",
            metavar="KEY",
            help="How many entries each value of a key has, or each day.",
            show_default=False,
        ),
    ] = None,
    having: Annotated[
        str | None, typer.Option("--having", help="Only counts such as '>5' (with --count-by).", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that Postgres may take.")] = 15.0,
) -> None:
    """Search the log."""
    form = _form("json" if as_json else str(output), schema, count_by)
    settings = context_of(context).settings()
    asked, chains = _query(settings, query, chain)
    wanted = _checked(form, sort, after, count_by, having, everything=everything)
    with _quiet_pipe(), SearchProgress() as progress:
        answering = choose_source(
            _stores(settings, timeout), chains, asked, source=source, say=_say, progress=progress.objects
        )
        try:
            if count_by is not None:
                counts = answering.count_by(
                    asked, count_by, having=wanted, sort=sort or "-count", limit=None if everything else limit + 1
                )
                more = not everything and len(counts) > limit
                counts = counts if everything else counts[:limit]
                words = [asked.text, f"--count-by {count_by}", f"--having {having}" if having else ""]
                read = ReadLog(settings, "search", " ".join(filter(None, words)), _read_chains(asked, chains))
                read.counted(answering.name, dict.fromkeys(_read_chains(asked, chains), len(counts)))
                with destination(file, form) as (stream, _terminal):
                    stream.write(count_rows(counts, count_by, form))
                if not counts:
                    _say_what_was_meant(asked)
                if more:
                    _say("there are more: --all for all of them")
                return
            read = ReadLog(settings, "export" if everything else "search", asked.text, _read_chains(asked, chains))
            _write(
                read,
                answering,
                asked,
                sort or "-timestamp",
                None if everything else limit,
                after,
                form,
                file,
                progress,
                _named_schema(schema),
                settings.log,
            )
        finally:
            for remark in answering.remarks:
                _say(remark)
            answering.close()


def _write(
    read: ReadLog,
    source: SearchSource,
    query: Query,
    sort: str,
    limit: int | None,
    after: str | None,
    form: str,
    file: Path | None,
    progress: SearchProgress,
    schema: SchemaName | None,
    log: str,
) -> None:
    """All of it as a stream, or one page and how to get the next."""
    following = None
    written = 0
    altered: list[str] = []
    with ExitStack() as held:
        given: Callable[[Sequence[Found]], object] = len
        if limit is None:
            batches: Iterator[Sequence[Found]] = source.stream(query, sort=sort)
            given = held.enter_context(read.streaming(source.name))
        else:
            page = source.page(query, sort=sort, limit=limit, after=after)
            read.answered(source.name, page.entries)
            batches, following = iter([page.entries]), page.next
        stream, terminal = held.enter_context(destination(file, form))
        writes = writer(form, stream, terminal=terminal, schema=schema, log=log)
        for batch in batches:
            given(batch)
            altered += [found.place for found in batch if not found.holds]
            writes.write(batch)
            written += len(batch)
            if file is not None or not terminal:
                progress.entries(written)
        writes.end()
    progress.close()
    if not written and form == "table":
        _say("nothing was found")
    if not written:
        _say_what_was_meant(query)
    if file is not None:
        _say(f"{written:,} entries written to {file}")
    if following is not None:
        _say(f"there are more: --all for all of them, or the next page with --after {following}")
    if altered:
        _say(
            f"WARNING: {len(altered)} of these entries do not have the hash that is stored with them "
            f"({', '.join(altered[:5])}{', ...' if len(altered) > 5 else ''}): run `sealstream verify all`"
        )
        raise typer.Exit(1)


def show_command(
    context: typer.Context,
    place: Annotated[str, typer.Argument(metavar="ID|CHAIN/SEQ", help="The entry's id, or its place.")],
    source: SourceOption = _Source.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sealed entry, byte for byte.")] = False,
    schema: Annotated[
        SchemaChoice | None,
        typer.Option("--as", help="Print it in other people's schema (docs/schemas.md).", show_default=False),
    ] = None,
) -> None:
    """Show one entry: what was done, old and new values, its place, its seal and whether that holds.

    sealstream show main/4711
    sealstream show 01932b7e-3f4a-7c1d-9e2b-5a6f7b8c9d0e --json | jq .metadata

    The hash is computed again from the bytes, and held against the newest signature that covers it. Ends with 1 when it
    does not hold.
    """
    settings = context_of(context).settings()
    if place in settings.chains:
        shows = f"`sealstream chain show {place}` shows it, `sealstream search chain:{place}` its entries"
        raise Misconfigured(f"{place} is a chain and no entry: {shows}, `sealstream show {place}/0` the first of them")
    parse_place(place)
    chains = sorted(settings.chains)
    with _quiet_pipe(), SearchProgress() as progress:
        stores = _stores(settings, 15.0)
        found = refusal = None
        # An id may be anywhere: Postgres is asked first, the archive only when it is not there.
        answered = str(source)
        for each in ("postgres", "archive") if source == "auto" else (answered,):
            if each == "postgres" and not settings.postgres.reader_dsn:
                continue
            answering = choose_source(stores, chains, Query(), source=each, progress=progress.objects)
            try:
                found = answering.entry(place)
                if found is not None and not as_json and schema is None:
                    refusal = signature_refusal(answering, found)
            except Unavailable as error:
                if source != "auto" or each != "postgres":
                    raise
                _say(f"the archive is asked: {error}")
            finally:
                answering.close()
            if found is not None:
                answered = each
                break
        progress.close()
        if found is None:
            where = "Postgres or the archive" if source == "auto" else source
            ReadLog(settings, "show", place, _named_chains(place, chains)).answered(str(source), [])
            raise Misconfigured(f"there is no entry {place} in {where} (chains: {', '.join(chains) or 'none yet'})")
        ReadLog(settings, "show", place, [found.chain]).answered(answered, [found])
        named = _named_schema(schema)
        if as_json or named is not None:
            with destination(None, "json") as (stream, _terminal):
                stream.write(found.sealed_value if named is None else shaped(named, settings.log)(found))
                stream.write(b"\n")
            covered = Covered(None)
        else:
            covered = _covered(settings, found, answered)
            print_entry(found, covered, answered, refusal)
        if not found.holds or covered.holds is False:
            raise typer.Exit(1)


def tail_command(
    context: typer.Context,
    query: QueryArgument = None,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on as entries come; Ctrl-C ends it.")] = False,
    number: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many that are found.")] = 10,
    chain: Annotated[
        str | None,
        typer.Option("--chain", help="The chain. Default: main, or the only one in the settings.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Sealed entries, one a line, byte for byte.")] = False,
    schema: SchemaOption = None,
) -> None:
    """Show a chain's newest entries as Kafka has them, and follow it with -f.

    sealstream tail -f result:denied
    sealstream tail -n 20 -f -action:read 'actor:admin-*'

    Only committed entries are shown, each once, in the chain's order. Nothing in Kafka changes by it.
    """
    settings = context_of(context).settings()
    if chain is None:
        chain = next(iter(settings.chains)) if len(settings.chains) == 1 else "main"
    settings.chain(chain)
    asked, _chains = _query(settings, query, [chain])
    form = "ndjson" if as_json or schema is not None else "table"
    read = ReadLog(settings, "tail", asked.text, [chain])
    with _quiet_pipe(), ExitStack() as held:
        given = held.enter_context(read.streaming("kafka")) if following else None
        stream, terminal = held.enter_context(destination(None, form))
        writes = writer(form, stream, terminal=terminal, schema=_named_schema(schema), log=settings.log)
        end, looked, found = last_found(settings, chain, asked, number)
        if given is None:
            read.answered("kafka", found)
        else:
            given(found)
        if number and not found:
            _say_what_was_meant(asked)
        writes.write(found)
        stream.flush()
        if looked is not None and len(found) < number:
            _say(f"looked through the last {looked:,} entries; `sealstream search` finds what came before")
        if given is not None:
            for batch in follow(settings, chain, asked, end, _say):
                given(batch)
                writes.write(batch)
                stream.flush()


# --- what they share --------------------------------------------------------------------------------------------------


def _query(settings: Settings, words: list[str] | None, chains: list[str] | None) -> tuple[Query, list[str]]:
    """What is asked, and in which chains. A query that can't be understood is drawn with a caret."""
    text = " ".join(words or ()).replace(_MINUS, "-")
    searched = [settings.chain(name).name for name in chains or sorted(settings.chains)]
    if not searched:
        raise Misconfigured("there is no chain yet: make one with `sealstream chain create main`")
    try:
        return parse(text, now=datetime.now(UTC), chains=searched), searched
    except QueryError as error:
        print(f"sealstream: error in the query\n\n{_indented(render(error))}", file=sys.stderr)
        raise typer.Exit(2) from error


def _read_chains(query: Query, chains: list[str]) -> list[str]:
    """The chains that a query reads; where it names none of them, that it was asked is still recorded."""
    return query.chains(chains) or chains[:1]


def _named_chains(place: str, chains: list[str]) -> list[str]:
    """Where an entry was looked for."""
    named = parse_place(place)
    if isinstance(named, EntryPlace):
        return [named.chain] if named.chain in chains else []
    return chains


def _indented(text: str) -> str:
    drawn, caret, told = text.rsplit("\n", 2)
    return f"  {drawn}\n  {caret}\n{told}"


def _checked(
    form: str, sort: str | None, after: str | None, count_by: str | None, having: str | None, *, everything: bool
) -> Having | None:
    """Options that do not go together are named. Gives what `--having` says."""
    sorts = SORTS if count_by is None else COUNT_SORTS
    if sort is not None and sort not in sorts:
        meaning = "; ".join(f"{name} ({what})" for name, what in sorts.items())
        nearest = nearest_key(sort, tuple(sorts))
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise Misconfigured(f"--sort {harmless(sort)}: expected {meaning}{hint}")
    if after is not None and (everything or count_by is not None):
        raise Misconfigured("--after: is for pages; it does not go with --all or --count-by")
    if count_by is None:
        if having is not None:
            raise Misconfigured("--having: is for counts; say what to count with --count-by, such as --count-by actor")
        return None
    if not countable(count_by):
        nearest = nearest_key(count_by, COUNTABLE)
        hint = f"did you mean {nearest}?" if nearest else f"expected {', '.join(COUNTABLE)}"
        raise Misconfigured(f"--count-by {harmless(count_by)}: nothing can be counted by that: {hint}")
    if form == "parquet":
        raise Misconfigured("--output parquet: is for entries; counts can be a table, json, ndjson or csv")
    return parse_having(having) if having is not None else None


def _form(form: str, schema: SchemaChoice | None, count_by: str | None) -> str:
    """The format; of other people's schemas NDJSON, unless it is JSON."""
    if schema is None:
        return form
    if count_by is not None:
        raise Misconfigured(f"--as {schema}: is for entries; it does not go with --count-by")
    if form not in ("table", *MAPPED):
        raise Misconfigured(f"--as {schema}: expected --output {' or '.join(MAPPED)}, got {form}")
    return "ndjson" if form == "table" else form


def _named_schema(schema: SchemaChoice | None) -> SchemaName | None:
    return None if schema is None else schema.value


def _stores(settings: Settings, timeout_s: float) -> Stores:
    archive = archive_settings(settings) if settings.archive.bucket else None
    return Stores(settings.postgres.reader_dsn, archive, timeout_s)


def _covered(settings: Settings, found: Found, source: str) -> Covered:
    vkey = settings.chain(found.chain).vkey
    if source == "archive":
        return covered_in_archive(archive_settings(settings), vkey, found)
    return covered_in_postgres(settings.postgres.reader_dsn, vkey, found)


def _say_what_was_meant(query: Query) -> None:
    """To somebody whose answer is empty."""
    if sentence := hint(query):
        _say(sentence)


def _say(sentence: str) -> None:
    print(f"sealstream: {harmless(sentence)}", file=sys.stderr)


@contextmanager
def _quiet_pipe() -> Iterator[None]:
    """Whoever reads may stop to read: then there is nothing more to say, as when `head` has seen enough."""
    try:
        yield
    except BrokenPipeError:
        # What the interpreter still wants to write at its end goes nowhere.
        if hasattr(sys.stdout, "fileno"):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
