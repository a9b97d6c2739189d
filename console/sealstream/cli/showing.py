"""One entry as a person reads it: who did what, what changed, where it stands, and whether its seal holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from sealstream.cli.context import out
from sealstream.cli.harmless import harmless
from sealstream.sealing import entry_hash
from sealstream.search import Covered, Found, SignatureRefusal

__all__ = ["changes", "entry_lines", "print_entry"]

_RESULT_STYLE = {"success": "bold green", "failure": "bold yellow", "denied": "bold red"}
_KINDS = {
    "event": "what an application reported",
    "control": "a control statement",
    "log": "a statement of the log itself",
}
_MARKS = {"-": "red", "+": "green", " ": "dim"}


def print_entry(found: Found, covered: Covered, source: str, refusal: SignatureRefusal | None = None) -> None:
    """The entry on standard output."""
    for line in entry_lines(found, covered, source, refusal):
        out.print(line, soft_wrap=True)


def entry_lines(found: Found, covered: Covered, source: str, refusal: SignatureRefusal | None = None) -> Iterator[Text]:
    """The entry, line by line. `source`: the store that it was read from; `refusal`: what the log
    said of its producer's signature.
    """
    entry, written = found.entry, found.entry["written"]
    yield Text.assemble(
        (found.place, "bold"),
        "  ",
        (harmless(entry["action"]), "bold"),
        " ",
        harmless(f"{entry['resource_type']}/{entry['resource_id']}"),
        "  ",
        (entry["result"], _RESULT_STYLE.get(entry["result"], "")),
    )
    yield Text(f"{_KINDS[written['kind']]}, id {entry['id']}", style="dim")
    yield Text()
    who = f"{harmless(entry['actor_id'])} ({entry['actor_type']})"
    if "on_behalf_of" in entry:
        who += f", on behalf of {harmless(entry['on_behalf_of'])}"
    yield _line("who", who)
    yield _line("happened", f"{entry['timestamp']} (its producer's clock)")
    if "received_at" in written:
        yield _line("received", f"{written['received_at']} (Kafka's clock)")
    yield _line("sealed", f"{written['sequenced_at']} (the log's clock)")
    for key, name in (
        ("ip_address", "from"), ("session_id", "session"), ("user_agent", "program"), ("tenant", "tenant"),
        ("trace_id", "trace"), ("reason", "reason"), ("subject_id", "subject"),
    ):  # fmt: skip
        if key in entry:
            yield _line(name, harmless(str(entry[key])))
    if "producer_id" in entry:
        yield _line("producer", f"{harmless(entry['producer_id'])}, number {entry['producer_seq']}")
    yield from _producers_signature(entry, refusal)
    for key in ("source", "metadata"):
        for number, (name, value) in enumerate(sorted((entry.get(key) or {}).items())):
            yield _line(key if number == 0 else "", f"{harmless(name)}: {_value(value)}")
    yield from _changed(entry)
    yield Text()
    yield from _seal(found, covered, source)


def changes(old: Mapping[str, Any], new: Mapping[str, Any], named: list[str]) -> list[tuple[str, str]]:
    """Old and new values as a diff: a mark (`-` `+`, or a blank for what did not change) and the line behind it."""
    lines = []
    for name in sorted({*old, *new, *named}):
        if name in old and name in new and old[name] == new[name]:
            lines.append((" ", f"{harmless(name)}: {_value(old[name])}"))
            continue
        if name in old:
            lines.append(("-", f"{harmless(name)}: {_value(old[name])}"))
        if name in new:
            lines.append(("+", f"{harmless(name)}: {_value(new[name])}"))
        if name not in old and name not in new:
            lines.append((" ", f"{harmless(name)}: changed, its values were not reported"))
    return lines


def _changed(entry: Mapping[str, Any]) -> Iterator[Text]:
    old, new, named = (entry.get(key) or {} for key in ("old_values", "new_values", "changed_fields"))
    lines = changes(old, new, list(named))
    if lines:
        yield Text()
        yield Text("what changed", style="dim")
    for mark, line in lines:
        yield Text(f"  {mark} {line}", style=_MARKS[mark])


def _producers_signature(entry: Mapping[str, Any], refusal: SignatureRefusal | None) -> Iterator[Text]:
    key = (entry.get("signature") or {}).get("key")
    if key is not None:
        yield _line("signature", f"names the key {harmless(key)}; `sealstream verify` judges it")
    if refusal is not None:
        said = f"REFUSED by entry {refusal.seq}: {refusal.why}"
        yield _line("" if key is not None else "signature", said, "bold red")


def _seal(found: Found, covered: Covered, source: str) -> Iterator[Text]:
    yield _line("prev_hash", found.prev_hash.hex())
    yield _line("hash", found.hash.hex())
    if not found.holds:
        computed = entry_hash(found.prev_hash, found.body).hex()
        yield _line("seal", f"DOES NOT HOLD: the bytes in {source} have the hash {computed}", "bold red")
        yield _line("", "what to do: run `sealstream verify all`; docs/runbooks/README.md", "red")
        return
    yield _line("seal", f"holds: the hash was computed again from the bytes in {source}", "green")
    if covered.holds is None:
        yield _line("signed", "not yet: no signed checkpoint reaches it", "yellow")
    elif covered.holds:
        yield _line("signed", f"by the chain's key, in the checkpoint over {covered.size:,} entries", "green")
    else:
        yield _line("signed", f"DOES NOT HOLD: {covered.problem}", "bold red")
        yield _line("", "what to do: run `sealstream verify all`; docs/runbooks/README.md", "red")


def _line(name: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"{name:<10}", "dim"), (value, style))


def _value(value: Any) -> str:
    return harmless(value) if isinstance(value, str) else harmless(json.dumps(value, ensure_ascii=False))
