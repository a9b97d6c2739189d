"""Key files: private from the first moment, whole or absent, never overwritten, refused once others can read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sealstream.checkpointing import create_key, load_signer
from sealstream.errors import Misconfigured
from sealstream.sealing import Checkpoint, open_checkpoint, sign_checkpoint

ORIGIN = "log.example/main"


def test_a_made_key_signs_what_its_public_half_verifies(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "main.key"
    vkey = create_key(path, ORIGIN)
    signer = load_signer(path, ORIGIN)
    checkpoint = Checkpoint(ORIGIN, 1, b"\1" * 32)
    assert signer.vkey == vkey
    assert open_checkpoint(sign_checkpoint(checkpoint, signer), vkey) == checkpoint
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o000, 0o777])
def test_the_mode_is_0600_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        create_key(tmp_path / "main.key", ORIGIN)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "main.key").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "main.key"
    create_key(path, ORIGIN)
    before = path.read_bytes()
    with pytest.raises(Misconfigured, match="never overwritten"):
        create_key(path, ORIGIN)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "dangling.key").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Misconfigured, match="never overwritten"):
        create_key(tmp_path / "dangling.key", ORIGIN)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_key_that_others_can_use_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "main.key"
    create_key(path, ORIGIN)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match=f"chmod 600 {path}"):
        load_signer(path)


def test_a_key_of_another_origin_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path / "main.key", ORIGIN)
    with pytest.raises(Misconfigured, match=r"is the key of log\.example/main: expected the key of log\.example/other"):
        load_signer(tmp_path / "main.key", "log.example/other")


def test_a_key_that_is_missing_or_malformed_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "main.key"
    with pytest.raises(Misconfigured, match="sealstream keys create"):
        load_signer(path)
    create_key(path, ORIGIN)
    whole = path.read_bytes()
    secret = whole.decode().strip().split("+", 4)[4]  # the base64 may hold a plus itself
    for data in (b"", whole[:-9], whole[:-1] + b"A\n", whole.replace(b"main", b"mine"), b"\xff" + whole, whole * 9):
        path.write_bytes(data)
        with pytest.raises(Misconfigured, match="holds no signing key") as raised:
            load_signer(path)
        assert secret[:20] not in str(raised.value)
        assert raised.value.__cause__ is None
    with pytest.raises(Misconfigured, match="can't read"):
        load_signer(tmp_path)


def test_a_place_that_can_t_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="can't make the key file"):
        create_key(tmp_path / "file" / "main.key", ORIGIN)
