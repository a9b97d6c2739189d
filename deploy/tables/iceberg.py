"""Makes an Iceberg table of a chain's archive where it lies or follows what came and went; objects stay as they are.

    python iceberg.py --archive s3://audit-archive --chain main --warehouse s3://lake --catalog sqlite:////var/lib/lake.db

The table's metadata goes to the warehouse, never to the archive. It is partitioned by the day of `sequenced_at`: an
object holds one UTC day, so its own statistics tell which. A crash leaves the table as it was, or a step further.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

NAMESPACE = "sealstream"


def main() -> None:
    """Says how many objects were added, and how many the table has."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--archive", required=True, help="the bucket (s3://name) or a folder that holds a copy of it")
    parser.add_argument("--chain", required=True, help="the chain; a table holds one")
    parser.add_argument("--warehouse", required=True, help="where metadata goes: another bucket, or a folder")
    parser.add_argument("--catalog", required=True, help="a database as SQLAlchemy names it, as sqlite:////path.db")
    given = parser.parse_args()

    from pyiceberg.catalog.sql import SqlCatalog

    archive, warehouse = given.archive.rstrip("/"), given.warehouse.rstrip("/")
    if f"{warehouse}/".startswith(f"{archive}/"):
        parser.error(f"--warehouse {warehouse} is in the archive, which takes nothing but segments: name another place")
    catalog = SqlCatalog("sealstream", uri=given.catalog, warehouse=warehouse)
    added, gone, held = follow(catalog, archive, given.chain)
    left = f"{gone} taken out that the archive has no more, " if gone else ""
    print(f"{table_name(given.chain)}: {added} objects added, {left}{held} in the table")


def table_name(chain: str) -> str:
    """The table of a chain; `-` is no letter of a name in SQL."""
    return f"{NAMESPACE}.entries_{chain.replace('-', '_')}"


def follow(catalog: Catalog, archive: str, chain: str) -> tuple[int, int, int]:
    """How many objects were added to the chain's table, which is made where it is not there; how many were taken out,
    since they were destroyed when their time was over; and how many it has now.

    Raises `SystemExit` where the archive has none.
    """
    found = list(objects(archive, chain))
    if not found:
        raise SystemExit(f"nothing in {archive}/entries/chain={chain}/: no object of this chain is there")
    table = _table(catalog, chain, found[0])
    known = {each.file.file_path: each.file for each in table.scan().plan_files()}
    gone = known.keys() - set(found)
    if gone:
        with table.transaction() as changing, changing.update_snapshot().overwrite() as writing:
            for path in gone:
                writing.delete_data_file(known[path])
    new = [path for path in found if path not in known]
    if new:
        table.add_files(new, check_duplicate_files=False)
    return len(new), len(gone), len(found)


def objects(archive: str, chain: str) -> Iterator[str]:
    """The addresses of the chain's objects, in its order."""
    from pyarrow.fs import FileSelector, FileSystem

    system, folder = FileSystem.from_uri(f"{archive}/entries/chain={chain}")
    scheme = f"{archive.partition('://')[0]}://"
    for each in sorted(system.get_file_info(FileSelector(folder, recursive=True)), key=lambda found: found.path):
        if each.is_file and each.base_name.endswith(".parquet"):
            yield f"{scheme}{each.path}"


def _table(catalog: Catalog, chain: str, example: str) -> Table:
    from pyiceberg.exceptions import NoSuchTableError
    from pyiceberg.transforms import DayTransform

    name = table_name(chain)
    try:
        return catalog.load_table(name)
    except NoSuchTableError:
        catalog.create_namespace_if_not_exists(NAMESPACE)
        table = catalog.create_table(name, _columns(example), properties={"gc.enabled": "false", "format-version": "2"})
        with table.update_spec() as spec:
            spec.add_field("sequenced_at", DayTransform(), "day")
        return table


def _columns(example: str) -> Any:
    """The columns as the objects have them."""
    import pyarrow.parquet as pq
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(example)
    return pq.read_schema(path, filesystem=system).remove_metadata()


if __name__ == "__main__":
    main()
