"""Which dead letters a command means: by their numbers, by a range of them, or all that were refused with one reason.

Reads only. The invariant: a letter that comes while a person is asked was not meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sealstream.cli.harmless import harmless
from sealstream.cli.letters import Letter, all_letters, letters_between, one_letter
from sealstream.errors import Misconfigured
from sealstream.kafka import KafkaSettings
from sealstream.layout import ChainTopics

__all__ = ["asked_for", "named_letters"]

_SPAN = re.compile(r"(\d{1,15})(?:\.\.(\d{1,15}))?")


def asked_for(letters: Sequence[str], all_with_reason: str | None) -> str:
    """Which are meant, as they were named. Raises `Misconfigured` when that can't be understood."""
    if bool(letters) is (all_with_reason is not None):
        raise Misconfigured("say which letters: by their numbers (4, or 3..17), or with --all-with-reason TEXT")
    for letter in letters:
        if _SPAN.fullmatch(letter) is None:
            raise Misconfigured(f"{letter!r} names no letter: expected its number, as `list` shows it, or 3..17")
    return " ".join(letters) if all_with_reason is None else f"--all-with-reason {all_with_reason}"


def named_letters(
    kafka: KafkaSettings, topics: ChainTopics, letters: Sequence[str], all_with_reason: str | None
) -> list[Letter]:
    """The letters that are meant, without their bytes. Raises `Misconfigured` where there is none."""
    found: dict[int, Letter] = {}
    if all_with_reason is not None:
        for letter in all_letters(kafka, topics):
            if all_with_reason in (letter.reason, harmless(letter.reason)):
                found[letter.offset] = letter._replace(value=b"")
        if not found:
            raise Misconfigured(
                f"no dead letter that is kept has the reason {all_with_reason!r}: `sealstream deadletter list` counts "
                "them by reason"
            )
    for each in letters:
        first, _, last = each.partition("..")
        if not last:
            found[int(first)] = one_letter(kafka, topics, int(first))._replace(value=b"")
            continue
        between = {
            letter.offset: letter._replace(value=b"")
            for letter in letters_between(kafka, topics, int(first), int(last))
        }
        if not between:
            raise Misconfigured(
                f"there is no dead letter {each}: `sealstream deadletter list` shows those that are kept"
            )
        found |= between
    return [found[number] for number in sorted(found)]
