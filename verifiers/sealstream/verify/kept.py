"""The verifier's own last checkpoints: what makes a rewritten or shortened history show next time.

One file for each store of a chain, in a state directory, written by rename after a verification that held. A store
must reach what it was seen to reach before; what was seen in *another* store is compared with once it is reached, since
a store may lag behind another. They only ever grow, hold no secret, and losing them loses nothing but that memory.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from sealstream.errors import SealstreamError
from sealstream.sealing import open_checkpoint
from sealstream.verify.signed import StoredNote

__all__ = ["default_state_dir", "keep_checkpoint", "kept_notes"]


def default_state_dir() -> Path:
    """`$XDG_STATE_HOME/sealstream` or `~/.local/state/sealstream`."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "sealstream"


def _file(state_dir: Path, origin: str, store: str) -> Path:
    return state_dir / f"{origin.replace('/', '%2F')}@{store}.checkpoint"


def kept_notes(state_dir: Path, origin: str, vkey: str, store: str) -> list[StoredNote]:
    """The checkpoints kept for this chain, as notes that `store` is held to.

    Raises when a file was damaged or is another key's, since a verifier that forgets silently protects nobody.
    """
    kept = []
    failing: dict[Path, SealstreamError] = {}
    for file in sorted(state_dir.glob(_file(state_dir, origin, "*").name)):
        note = file.read_bytes()
        seen_in = file.name.rpartition("@")[2].removesuffix(".checkpoint")
        try:
            open_checkpoint(note, vkey)
        except SealstreamError as error:
            failing[file] = error
            continue
        place = f"this verifier's own, seen in {seen_in} before"
        kept.append(StoredNote(note, place, must_reach=seen_in == store))
    if failing:
        first = next(iter(failing.values()))
        raise type(first)(_cannot_hold_to(state_dir, failing)) from first
    return kept


def _cannot_hold_to(state_dir: Path, failing: dict[Path, SealstreamError]) -> str:
    """What is wrong with the files, why that may be, and what to do for each cause."""
    files = [str(file) for file in failing]
    those = " ".join(map(shlex.quote, files))
    more = f" (nor do {len(files) - 1} more of this chain)" if len(files) > 1 else ""
    return (
        f"the checkpoint that this verifier kept in {files[0]} does not hold{more}: {next(iter(failing.values()))}. "
        "Either another log of the same name was verified on this machine, such as an older local stack: keep them "
        "apart with `--state-dir DIR` (or XDG_STATE_HOME), or, if that log is no more, forget it: "
        f"`rm {those}`. Or this chain's key was replaced, or a file was damaged: if you know of no good reason, "
        f"somebody may have put another log in this one's place, so keep what is in {state_dir} and see "
        "docs/runbooks/wrong-root.md; until then the verification can't be trusted"
    )


def keep_checkpoint(state_dir: Path, origin: str, vkey: str, store: str, note: bytes) -> Path:
    """Keep `note` (verified just now) for this store, if it is larger than the one kept. Returns its file."""
    file = _file(state_dir, origin, store)
    if file.exists() and open_checkpoint(file.read_bytes(), vkey).size >= open_checkpoint(note, vkey).size:
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_bytes(note)
    beside.replace(file)
    return file
