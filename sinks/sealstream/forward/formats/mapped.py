"""A message's JSON in the schema that its target wants: Sealstream's own, byte for byte, or other people's. Pure."""

from __future__ import annotations

from sealstream.forward.messages import Message
from sealstream.forward.targets import Target
from sealstream.mappings import SCHEMAS, mapped_alert, mapped_entry

__all__ = ["media_type", "told"]


def told(target: Target, message: Message) -> bytes:
    """The alert or the entry. Raises `NotCanonical` when it is none."""
    if target.format == "sealstream":
        return message.value
    mapped = mapped_alert if message.alert is not None else mapped_entry
    return mapped(target.format, message.value, target.log)


def media_type(target: Target) -> str:
    """Of one message in a request of its own."""
    return "application/json" if target.format == "sealstream" else SCHEMAS[target.format].media_type
