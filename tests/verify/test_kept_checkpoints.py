"""Another key under a log's name: never passed over, and said so that a person can tell a second log from an attack."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealstream.sealing import (
    BadNote,
    Checkpoint,
    new_signing_key,
    parse_vkey,
    sign_checkpoint,
    signer,
)
from sealstream.verify import keep_checkpoint, kept_notes

ORIGIN = "localhost/sealstream/main"


def test_another_key_of_the_same_name_is_said_with_both_keys_and_every_file(tmp_path: Path) -> None:
    older, newer = (signer(new_signing_key(ORIGIN)) for _ in range(2))
    note = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), older)
    files = [keep_checkpoint(tmp_path, ORIGIN, older.vkey, store, note) for store in ("archive", "kafka")]
    assert len(kept_notes(tmp_path, ORIGIN, older.vkey, "kafka")) == 2
    with pytest.raises(BadNote) as raised:
        kept_notes(tmp_path, ORIGIN, newer.vkey, "kafka")
    said = str(raised.value)
    for key in (older, newer):
        assert f"{ORIGIN}+{parse_vkey(key.vkey).key_id.hex()}" in said
    assert f"`rm {files[0]} {files[1]}`" in said
    assert "`--state-dir DIR`" in said
    assert "key was replaced" in said
    assert [file.read_bytes() for file in files] == [note, note]
