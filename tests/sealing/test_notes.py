"""Signed notes, checkpoints and proof texts against C2SP's examples, and against malformed input."""

import base64
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstream.sealing import (
    BadNote,
    Checkpoint,
    EntryProof,
    format_checkpoint,
    format_proof,
    inclusion_proof,
    new_signing_key,
    open_checkpoint,
    open_note,
    open_proof,
    parse_checkpoint,
    parse_proof,
    parse_vkey,
    sign_checkpoint,
    sign_note,
    signer,
    tree_root,
)

# C2SP signed-note: its example note and verifier key.
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_TEXT = "This is an example message.\n"
SPEC_LINE = (
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
)
SPEC_NOTE = f"{SPEC_TEXT}\n{SPEC_LINE}\n".encode()

# The reference implementation's (golang.org/x/mod/sumdb/note) published key pair and note.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="

ORIGIN = "audit.example/main"
KEY = signer(new_signing_key(ORIGIN))
LEAVES = [sha256(b"%d" % number).digest() for number in range(11)]
CHECKPOINT = Checkpoint(ORIGIN, 11, tree_root(LEAVES))
NOTE = sign_checkpoint(CHECKPOINT, KEY)


def test_the_published_notes_open_and_are_signed_alike() -> None:
    assert open_note(SPEC_NOTE, SPEC_VKEY) == SPEC_TEXT
    assert parse_vkey(SPEC_VKEY).vkey == SPEC_VKEY
    go = signer(GO_SKEY)
    assert go.vkey == GO_VKEY
    assert go.sign(GO_TEXT) == f"{GO_TEXT}\n{GO_LINE}\n".encode() == sign_note(GO_TEXT, go)
    assert open_note(go.sign(GO_TEXT), GO_VKEY) == GO_TEXT


def test_a_new_key_signs_what_its_vkey_opens() -> None:
    assert KEY.name == ORIGIN
    assert open_note(KEY.sign("one\n\ntwo\n"), KEY.vkey) == "one\n\ntwo\n"
    assert new_signing_key(ORIGIN) != new_signing_key(ORIGIN)


@pytest.mark.parametrize("pluses", [False, True])
def test_a_key_never_shows_itself(pluses: bool) -> None:
    secret = f"PRIVATE+KEY+{ORIGIN}+00000000+" + "AXk+" * 11 if pluses else new_signing_key(ORIGIN)
    seed = secret.split("+", 4)[4]
    with suppress(BadNote):  # the second key's id is not its own
        assert seed not in repr(signer(secret))
    for broken in (secret[:-4], secret.replace(ORIGIN, "audit.example/other"), secret + "A", "PRIVATE+KEY+" + seed):
        with pytest.raises(BadNote) as refusal:
            signer(broken)
        assert seed[:10] not in str(refusal.value)


def test_other_signatures_are_passed_over_whatever_they_share_with_ours() -> None:
    key_id = base64.b64decode(SPEC_LINE.split(" ")[2])[:4]
    same_name = "— example.com/foo " + base64.b64encode(b"\0\0\0\0" + bytes(64)).decode()
    same_id = "— example.com/bar " + base64.b64encode(key_id + bytes(64)).decode()
    large = "— quantum.example " + base64.b64encode(bytes(5000)).decode()
    others = [same_name, same_id, large, *(f"— w{i}.example {base64.b64encode(bytes(68)).decode()}" for i in range(20))]
    for lines in ([*others, SPEC_LINE], [SPEC_LINE, *others], [SPEC_LINE, SPEC_LINE]):
        note = f"{SPEC_TEXT}\n" + "".join(f"{line}\n" for line in lines)
        assert open_note(note.encode(), SPEC_VKEY) == SPEC_TEXT
    with pytest.raises(BadNote, match="no signature by"):
        open_note((f"{SPEC_TEXT}\n" + "".join(f"{line}\n" for line in others)).encode(), SPEC_VKEY)


def test_a_signature_of_ours_that_fails_refuses_the_note_even_beside_one_that_holds() -> None:
    key_id = base64.b64decode(SPEC_LINE.split(" ")[2])[:4]
    for size in (64, 63, 65, 1):
        ours = "— example.com/foo " + base64.b64encode(key_id + b"\1" * size).decode()
        with pytest.raises(BadNote, match="does not verify"):
            open_note(f"{SPEC_TEXT}\n{SPEC_LINE}\n{ours}\n".encode(), SPEC_VKEY)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n",
        b"\n\n",
        SPEC_TEXT.encode(),
        f"{SPEC_TEXT}\n".encode(),
        SPEC_NOTE[:-1],
        SPEC_NOTE + b"\n",
        SPEC_NOTE + b"more",
        SPEC_NOTE.replace(b"\n\n", b"\n"),
        SPEC_NOTE.replace(b"\n", b"\r\n"),
        SPEC_NOTE.replace(b"This", b"Th\tis"),
        SPEC_NOTE.replace(b"This", b"Th\0is"),
        SPEC_NOTE.replace(b"This", b"Th\xffis"),
        SPEC_NOTE.replace("—".encode(), b"-"),
        SPEC_NOTE.replace(b"foo ", b"foo  "),
        SPEC_NOTE.replace(b"foo ", b"foo\xc2\xa0"),
        SPEC_NOTE.replace(b"com/foo ", b"com+foo "),
        SPEC_NOTE.replace(b" example.com/foo ", b"  "),
        SPEC_NOTE.replace(b"aQM=", b"aQN="),
        SPEC_NOTE.replace(b"aQM=", b"aQM"),
        SPEC_NOTE.replace(b"aQM=", b"aQM= "),
        f"{SPEC_TEXT}\n{SPEC_LINE}\n— a AAAA\n".encode(),
        f"{SPEC_TEXT}\n{SPEC_LINE}\nunsigned\n".encode(),
        f"{SPEC_TEXT}\n".encode() + f"{SPEC_LINE}\n".encode() * 101,
        b"a" * 1_000_001,
    ],
)
def test_malformed_notes_are_refused(note: bytes) -> None:
    assert note != SPEC_NOTE
    with pytest.raises(BadNote):
        open_note(note, SPEC_VKEY)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        SPEC_VKEY.replace("530d903a", "530d903b"),
        SPEC_VKEY.replace("530d903a", "530D903A"),
        SPEC_VKEY.replace("foo", "bar"),
        SPEC_VKEY.replace("foo", "f oo"),
        SPEC_VKEY[:-4],
        SPEC_VKEY + "AAAA",
        SPEC_VKEY.replace("+Aek", "+Ask"),
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_malformed_verifier_keys_are_refused(vkey: str) -> None:
    with pytest.raises(BadNote):
        parse_vkey(vkey)


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\rb\n", "\0\n"])
def test_text_that_could_not_be_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(BadNote):
        sign_note(text, KEY)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])).map(lambda text: text + "\n"))
def test_any_text_that_is_signed_opens(text: str) -> None:
    assert open_note(sign_note(text, KEY), KEY.vkey) == text


@settings(max_examples=300)
@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_checkpoint_opens(place: int, change: int) -> None:
    damaged = NOTE[:place] + bytes([NOTE[place] ^ change]) + NOTE[place + 1 :]
    with pytest.raises(BadNote):
        open_checkpoint(damaged, KEY.vkey)


def test_a_checkpoint_is_three_lines() -> None:
    text = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"  # C2SP tlog-checkpoint
    )
    root = bytes.fromhex("0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62")
    assert parse_checkpoint(text) == ("example.com/behind-the-sofa", 20852163, root)
    assert format_checkpoint(parse_checkpoint(text)) == text
    assert open_checkpoint(NOTE, KEY.vkey) == CHECKPOINT


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"o\n0\n{ROOT}\n",
        f"o\n01\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n1 \n{ROOT}\n",
        f"o\n١\n{ROOT}\n",
        f"o\n1.0\n{ROOT}\n",
        f"o\n10000000000000000000\n{ROOT}\n",
        f"\n1\n{ROOT}\n",
        f"o\n1\n{ROOT}",
        f"o\n1\n{ROOT}\nextension\n",
        f"o\n1\n{ROOT}\n\n",
        f"o\n1\n{ROOT[:-1]}\n",
        f"o\n1\n{ROOT[:-2]}B=\n",
        f"o\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        f"o\n1\n{base64.b64encode(bytes(33)).decode()}\n",
        f"o\n1\n{'_' * 43}=\n",
    ],
)
def test_other_spellings_are_no_checkpoint(text: str) -> None:
    with pytest.raises(BadNote):
        parse_checkpoint(text)
    if text.endswith("\n"):
        with pytest.raises(BadNote):
            open_checkpoint(sign_note(text, KEY), KEY.vkey)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint(ORIGIN, 0, bytes(32)),
        Checkpoint(ORIGIN, -1, bytes(32)),
        Checkpoint(ORIGIN, 1, bytes(31)),
        Checkpoint("audit.example/other", 1, bytes(32)),
        Checkpoint("", 1, bytes(32)),
        Checkpoint("a\nb", 1, bytes(32)),
    ],
)
def test_what_is_no_checkpoint_of_ours_is_not_signed(checkpoint: Checkpoint) -> None:
    with pytest.raises(BadNote):
        sign_checkpoint(checkpoint, KEY)


def test_a_checkpoint_of_another_origin_is_refused_though_our_key_signed_it() -> None:
    note = sign_note(format_checkpoint(CHECKPOINT._replace(origin="audit.example/other")), KEY)
    with pytest.raises(BadNote, match="expected the origin"):
        open_checkpoint(note, KEY.vkey)


def test_a_proof_text_opens_for_its_entry_and_no_other() -> None:
    for seq, leaf in enumerate(LEAVES):
        text = format_proof(seq, inclusion_proof(LEAVES, seq), NOTE)
        assert open_proof(text, leaf, KEY.vkey) == (seq, CHECKPOINT)
        assert parse_proof(text) == EntryProof(seq, tuple(inclusion_proof(LEAVES, seq)), NOTE)
        with pytest.raises(BadNote, match="does not lead"):
            open_proof(text, LEAVES[seq - 1], KEY.vkey)
        with pytest.raises(BadNote, match="does not lead"):
            open_proof(format_proof((seq + 1) % 11, inclusion_proof(LEAVES, seq), NOTE), leaf, KEY.vkey)


def test_the_bytes_of_a_proof_text() -> None:
    text = format_proof(10, [bytes(32)], NOTE)
    assert text == b"c2sp.org/tlog-proof@v1\nindex 10\n" + ROOT.encode() + b"\n\n" + NOTE
    assert parse_proof(text.replace(b"index", b"extra AAEC\nindex")).extra == b"\0\1\2"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1", b"@v2"),
        (b"index 10\n", b""),
        (b"index 10", b"index 010"),
        (b"index 10", b"index -1"),
        (b"index 10", b"index  10"),
        (b"index 10\n", b"index 10\nextra AAEC\n"),
        (b"index 10\n", b"extra A\nindex 10\n"),
        (b"index 10\n", b"index 10\n" + ROOT.encode() + b"A\n"),
        (b"index 10\n", b"index 10\n" + base64.b64encode(bytes(31)) + b"\n"),
        (b"index 10\n", b"index 10\n" + (ROOT.encode() + b"\n") * 63),
        (b"\n\n", b"\n"),
        (b"c2sp", b"\xffc2sp"),
        (b"index 10\n", b"index 10\r\n"),
    ],
)
def test_malformed_proof_texts_are_refused(old: bytes, new: bytes) -> None:
    text = format_proof(10, inclusion_proof(LEAVES, 10), NOTE)
    assert old in text
    with pytest.raises(BadNote):
        open_proof(text.replace(old, new), LEAVES[10], KEY.vkey)
