"""Searching the log: GitHub's audit-log syntax, asked of Postgres or of the archive, with the same answers.

`parse` makes a `Query` of what a person wrote, or raises a `QueryError` that `render` draws with a caret. A
`SearchSource` answers it: `PostgresSource` online, `ArchiveSource` for ever. `matches` is what a query means,
in plain Python.
"""

from sealstream.search.archive_source import ArchiveSource
from sealstream.search.choosing import SOURCES, Stores, choose_source
from sealstream.search.combined_source import CombinedSource
from sealstream.search.covering import Covered, covered_in_archive, covered_in_postgres
from sealstream.search.errors import BadCursor, BadPlace, QueryError, SearchTooBroad, render
from sealstream.search.fields import COUNTABLE, FIELDS, TIME_KEYS, Field, countable, nearest_key
from sealstream.search.found import COUNT_SORTS, SORTS, Count, Found, Having, Page, SearchSource
from sealstream.search.having import parse_having
from sealstream.search.hints import hint
from sealstream.search.matching import matches
from sealstream.search.parsing import parse
from sealstream.search.places import EntryPlace, parse_place
from sealstream.search.postgres_source import PostgresSource
from sealstream.search.query import Condition, Query
from sealstream.search.refusals import SignatureRefusal, signature_refusal

__all__ = [
    "COUNTABLE",
    "COUNT_SORTS",
    "FIELDS",
    "SORTS",
    "SOURCES",
    "TIME_KEYS",
    "ArchiveSource",
    "BadCursor",
    "BadPlace",
    "CombinedSource",
    "Condition",
    "Count",
    "Covered",
    "EntryPlace",
    "Field",
    "Found",
    "Having",
    "Page",
    "PostgresSource",
    "Query",
    "QueryError",
    "SearchSource",
    "SearchTooBroad",
    "SignatureRefusal",
    "Stores",
    "choose_source",
    "countable",
    "covered_in_archive",
    "covered_in_postgres",
    "hint",
    "matches",
    "nearest_key",
    "parse",
    "parse_having",
    "parse_place",
    "render",
    "signature_refusal",
]
