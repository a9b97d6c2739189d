"""One statement of the person at this machine, sealed once however often the command is run (`saying.py`).

A crash before it is sealed leaves it to the same command: what makes two commands one is their key.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from sealstream.cli.context import Context, out
from sealstream.cli.harmless import told
from sealstream.cli.saying import Message, Pending, person_says, say_until_sealed
from sealstream.cli.settings import Settings
from sealstream.errors import InvalidEvent, Misconfigured
from sealstream.events import new_event_id

__all__ = ["ByOption", "WaitOption", "say_as_person", "say_what_was_begun"]

ByOption = Annotated[
    str | None, typer.Option("--by", help="Who decides it, if not you: sealed beside who you are on this machine.")
]
WaitOption = Annotated[float, typer.Option("--wait", min=1, help="Wait so many seconds until it is sealed.")]


def say_as_person(
    shared: Context,
    settings: Settings,
    chain: str,
    action: str,
    resource_type: str,
    resource_id: str,
    metadata: Mapping[str, object],
    by: str | None,
    wait: float,
    *,
    key: Sequence[object] | None = None,
    already: str = "",
) -> None:
    """Say it and wait until it is sealed. `key`: what makes two commands one; else everything that is said. `already`:
    that it is sealed, in words: then nothing is said.
    """
    settings.running_chain(chain)
    pending = _pending(shared, chain, action, by, key or (action, resource_id, metadata))
    if already:
        pending.remove()
        out.print(told(already), soft_wrap=True)
        return
    messages = pending.read()
    if messages is None:
        own_id = new_event_id()
        try:
            value = person_says(
                action, id=own_id, resource_type=resource_type, resource_id=resource_id, metadata=metadata, by=by
            )
        except InvalidEvent as error:
            raise Misconfigured(f"this can't be sealed: {error}") from error
        messages = [Message("control", own_id, value)]
        pending.write(messages)
    _finish(settings, chain, action, pending, messages, wait)


def say_what_was_begun(
    shared: Context, settings: Settings, chain: str, action: str, by: str | None, wait: float, key: Sequence[object]
) -> bool:
    """Finish what a command with this key began and did not finish, as it was; whether there was such."""
    pending = _pending(shared, chain, action, by, key)
    messages = pending.read()
    if messages is None:
        return False
    settings.running_chain(chain)
    _finish(settings, chain, action, pending, messages, wait)
    return True


def _pending(shared: Context, chain: str, action: str, by: str | None, key: Sequence[object]) -> Pending:
    said = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([chain, by, *key], sort_keys=True))
    return Pending(shared.config, f"{action}-{chain}-{said}")


def _finish(
    settings: Settings, chain: str, action: str, pending: Pending, messages: Sequence[Message], wait: float
) -> None:
    (seq,) = say_until_sealed(settings, chain, messages, wait_s=wait).values()
    pending.remove()
    about = _brief(json.loads(messages[0].value)["resource_id"])
    out.print(told(f"sealed: entry {seq} of chain {chain} ({action} {about})"), soft_wrap=True)


def _brief(resource_id: str) -> str:
    """An id of our own by its first digits, as lists show it; a name whole."""
    try:
        return str(uuid.UUID(resource_id))[:8]
    except ValueError:
        return resource_id
