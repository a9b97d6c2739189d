"""`sealstream chain continue`: close a chain that can't go on, and make its successor.

Each step is repeatable: the successor's key and topics are made or found, the settings of both chains are written
together, by rename, and only then are records carried over. Once closed, the same command carries over what came since.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.text import Text

from sealstream.cli.chain import make_chain
from sealstream.cli.context import context_of, out
from sealstream.cli.restore import CheckpointOption, StateOption, given_notes, open_remainder, shown_progress
from sealstream.cli.settings import Settings, write_settings
from sealstream.errors import Misconfigured
from sealstream.layout import ChainTopics, SegmentLimits
from sealstream.layout.chains import successor_name
from sealstream.rebuild.successor import CarriedOver, Closing, carry_over, plan_successor

__all__ = ["continue_chain"]


def continue_chain(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The chain that can't go on.")],
    checkpoint: CheckpointOption = None,
    state_dir: StateOption = None,
    key_lost: Annotated[
        bool, typer.Option("--key-lost", help="Its signing key is lost or stolen: close it, whatever it holds.")
    ] = False,
    without_archive: Annotated[bool, typer.Option("--without-archive", help="The archive is lost too.")] = False,
    without_postgres: Annotated[bool, typer.Option("--without-postgres", help="Postgres is lost too.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask on a terminal before the chain is closed.")
    ] = False,
) -> None:
    """Close a chain for ever, and begin its successor (main, then main-r2), which says what is lost.

    For a chain of which a published checkpoint is larger than what any store holds, or whose signing key is lost. Stop
    its processes first. Entry 1 of the successor names the last known checkpoint and the entries that no store can
    prove; records of the old raw topic that these entries do not account for are carried over and sealed again. The
    old chain stays as it is, to be verified and asked. Run it again when the last producer writes to the successor.
    """
    shared = context_of(context)
    settings = shared.settings()
    chain = settings.chain(name)
    section = settings.chains[name]
    successor = section.continued_as or successor_name(name)
    if not section.closed_at:
        kept = given_notes(chain, checkpoint or [], state_dir)
        with open_remainder(settings, chain, archive=not without_archive, postgres=not without_postgres) as remainder:
            out.print(f"checking what the stores hold of chain {name}")
            with shown_progress() as progress:
                closing = plan_successor(
                    settings.kafka_settings(),
                    chain,
                    remainder,
                    kept=kept,
                    key_lost=key_lost,
                    progress=lambda done, total: progress("checking", done, total),
                )
        _tell(name, successor, closing)
        if sys.stdin.isatty() and not yes:
            typer.confirm(f"close {name} for ever?", abort=True)
        make_chain(
            shared.config,
            settings,
            successor,
            retention=section.retention,
            limits=SegmentLimits(section.segment_entries, section.segment_bytes, section.segment_seconds),
            beside=_closed(name, successor, closing),
            say=lambda line: out.print(Text(line), soft_wrap=True),
        )
        settings = shared.settings()
        out.print(f"chain {name} is closed, and goes on as {successor}")
    carried = _carry(settings, name, successor)
    write_settings(
        shared.config,
        {"chains": {successor: {"continues": {"carried_from": carried.topic_id, "carried": carried.offset}}}},
    )
    topics = [ChainTopics.of(each, settings.kafka.prefix).raw for each in (name, successor)]
    out.print(f"{carried.records:,} records carried over from {topics[0]} to {topics[1]}", soft_wrap=True)
    out.print(
        f"now start the processes of {successor} (`sealstream up` does), let producers write to it "
        f"(AuditClient(chain={successor!r})), and run this command once more when the last one does",
        soft_wrap=True,
    )


def _closed(name: str, successor: str, closing: Closing) -> dict[str, dict[str, object]]:
    continues = closing.continued._asdict() | {
        "chain": name,
        "carried_from": closing.raw_topic_id,
        "carried": closing.raw_offset,
    }
    return {
        name: {"closed_at": closing.closed_at, "continued_as": successor},
        successor: {"continues": continues},
    }


def _carry(settings: Settings, name: str, successor: str) -> CarriedOver:
    section = settings.chains[successor]
    if section.continues is None or section.continues.chain != name:
        raise Misconfigured(f"chain {successor!r} is not the successor of {name!r}: the settings contradict each other")
    return carry_over(
        settings.kafka_settings(),
        settings.chain(name),
        settings.chain(successor),
        section.continues.carried_from,
        section.continues.carried,
    )


def _tell(name: str, successor: str, closing: Closing) -> None:
    lost = closing.continued
    out.print(f"of chain {name} the stores hold {closing.held:,} entries, {closing.signed:,} under a checkpoint")
    if lost.first_lost <= lost.last_lost:
        what = f"entries {lost.first_lost} to {lost.last_lost} of {name} are lost: no store can prove them"
    else:
        what = f"no entry of {name} is lost"
    out.print(f"{what}; entry 1 of {successor} will say so", soft_wrap=True)
