"""Other people's logs as events: readers of their files, and for each kind a table of what becomes what.

Pure: bytes in, events and refusals out. `sealstream import` gives them files and takes the events to a chain.
"""

from sealstream.importers.cloudtrail import CLOUDTRAIL
from sealstream.importers.github import GITHUB
from sealstream.importers.kubernetes import KUBERNETES
from sealstream.importers.linux import JOURNALD, auth_log
from sealstream.importers.mapped import importer_of_mapping
from sealstream.importers.microsoft365 import MICROSOFT365
from sealstream.importers.okta import OKTA
from sealstream.importers.reading import records_of
from sealstream.importers.records import Composer, Event, Fields, Importer, LeftOut, Record, Unreadable
from sealstream.importers.unpacking import BrokenFile, gunzipped

IMPORTERS: dict[str, Importer] = {
    each.name: each for each in (CLOUDTRAIL, KUBERNETES, GITHUB, OKTA, MICROSOFT365, auth_log(), JOURNALD)
}
"""By the name that `sealstream import` knows them by."""

__all__ = [
    "IMPORTERS",
    "BrokenFile",
    "Composer",
    "Event",
    "Fields",
    "Importer",
    "LeftOut",
    "Record",
    "Unreadable",
    "auth_log",
    "gunzipped",
    "importer_of_mapping",
    "records_of",
]
