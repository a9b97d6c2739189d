"""Signed notes (C2SP signed-note) with Ed25519: text that a named key has signed, and the keys in their text form.

A note is text that ends in a newline, an empty line, and signature lines `- name base64(key id || signature)` (an em
dash where this says `-`). Lines of other keys are passed over; a line of ours must verify, and one of ours must be
there. Ed25519 is deterministic, so signing the same text again gives the same bytes. Pure; `cryptography` is imported
where it is used, since a thin install lacks it.
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from sealstream.errors import SealstreamError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "MAX_NOTE_BYTES",
    "BadNote",
    "Signer",
    "Verifier",
    "from_base64",
    "new_signing_key",
    "open_note",
    "parse_vkey",
    "sign_note",
    "signer",
    "split_note",
]

MAX_NOTE_BYTES = 1_000_000
"""Notes beyond are refused unread; sixteen signatures, which must be accepted, take far less."""
MAX_SIGNATURES = 100
_ED25519 = b"\x01"
_LINE = "\u2014 "


class BadNote(SealstreamError):
    """A note, a checkpoint or a key in text form is malformed, or its signature does not hold."""


class Verifier(NamedTuple):
    """A public key with its name. `key_id`: the first 4 bytes of SHA-256(name || 0x0A || 0x01 || public key)."""

    name: str
    key_id: bytes
    public_key: bytes

    @property
    def vkey(self) -> str:
        """The key as C2SP text: `<name>+<key id in hex>+<base64 of 0x01 || public key>`."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(_ED25519 + self.public_key)}"


class Signer:
    """A private key with its name. Its text never appears in `repr`."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        public = private_key.public_key().public_bytes_raw()
        self._private_key = private_key
        self.name = name
        self.verifier = Verifier(name, _key_id(name, public), public)

    @property
    def vkey(self) -> str:
        """The public key that verifies what this signs, as C2SP text."""
        return self.verifier.vkey

    def sign(self, text: str) -> bytes:
        """`text` as a note with this key's signature."""
        return sign_note(text, self)

    def signature(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`."""
        return self._private_key.sign(message)

    def __repr__(self) -> str:
        return f"Signer({self.vkey!r})"


def new_signing_key(name: str) -> str:
    """A new private key as C2SP text, `PRIVATE+KEY+<name>+<key id in hex>+<base64 of 0x01 || seed>`. A secret."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private_key = Ed25519PrivateKey.generate()
    _check_name(name)
    public = private_key.public_key().public_bytes_raw()
    return f"PRIVATE+KEY+{name}+{_key_id(name, public).hex()}+{_b64(_ED25519 + private_key.private_bytes_raw())}"


_is_key_id = re.compile("[0-9a-f]{8}").fullmatch


def signer(skey: str) -> Signer:
    """The signer of a private key in text form. Raises `BadNote` (which never shows the key)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    prefix = "PRIVATE+KEY+"
    parts = skey.removeprefix(prefix).split("+", 2)
    # Base64 may hold a plus: without a key id in its place, what stands for the name could be a piece of the secret.
    if not skey.startswith(prefix) or len(parts) != 3 or not _is_key_id(parts[1]):
        raise BadNote("a signing key: expected PRIVATE+KEY+<name>+<8 hex digits>+<base64>")
    name, key_id, encoded = parts
    _check_name(name)
    material = from_base64(encoded)
    if material is None or len(material) != 33 or material[:1] != _ED25519:
        raise BadNote(f"the signing key of {name}: expected base64 of 0x01 and a 32-byte Ed25519 seed")
    made = Signer(name, Ed25519PrivateKey.from_private_bytes(material[1:]))
    if made.verifier.key_id.hex() != key_id:
        raise BadNote(f"the signing key of {name}: its key id is {made.verifier.key_id.hex()}, but it says {key_id!r}")
    return made


def parse_vkey(vkey: str) -> Verifier:
    """The public key of a C2SP verifier key. Raises `BadNote` when malformed or when its key id is not its own."""
    parts = vkey.split("+", 2)
    if len(parts) != 3:
        raise BadNote(f"verifier key {vkey[:120]!r}: expected <name>+<8 hex digits>+<base64>")
    name, key_id, encoded = parts
    _check_name(name)
    material = from_base64(encoded)
    if material is None or len(material) != 33 or material[:1] != _ED25519:
        raise BadNote(f"verifier key {vkey[:120]!r}: expected base64 of 0x01 and a 32-byte Ed25519 public key")
    expected = _key_id(name, material[1:])
    if key_id != expected.hex():
        raise BadNote(f"verifier key {vkey[:120]!r}: its key id is {expected.hex()}, but it says {key_id!r}")
    return Verifier(name, expected, material[1:])


def sign_note(text: str, signer: Signer) -> bytes:
    """The note of `text` (ends in a newline, no control characters but newlines), signed. Raises `BadNote`."""
    _check_text(text)
    message = text.encode()
    encoded = _b64(signer.verifier.key_id + signer.signature(message))
    return message + f"\n{_LINE}{signer.name} {encoded}\n".encode()


def open_note(note: bytes, vkey: str | Verifier) -> str:
    """The text of `note`, once a signature by this key on it has verified. Raises `BadNote` otherwise.

    Other keys' lines are passed over, also those that share only the name or only the key id with ours.
    """
    verifier = parse_vkey(vkey) if isinstance(vkey, str) else vkey
    text, signatures = split_note(note)
    ours = [signature for name, key_id, signature in signatures if (name, key_id) == verifier[:2]]
    if not ours:
        signed_by = ", ".join(sorted({f"{name}+{key_id.hex()}" for name, key_id, _ in signatures}))
        raise BadNote(f"no signature by {verifier.name}+{verifier.key_id.hex()}: the note is signed by {signed_by}")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    message = text.encode()
    for signature in ours:
        try:
            Ed25519PublicKey.from_public_bytes(verifier.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise BadNote(f"the signature by {verifier.name}+{verifier.key_id.hex()} does not verify") from error
    return text


def split_note(note: bytes) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Text and signatures (name, key id, signature) of a well-formed note; nothing is verified. Raises `BadNote`."""
    if len(note) > MAX_NOTE_BYTES:
        raise BadNote(f"a note of {len(note)} bytes: expected at most {MAX_NOTE_BYTES}")
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadNote(f"a note must be UTF-8: {error.reason} at byte {error.start}") from error
    # The last empty line parts text from signatures; the text keeps its newline.
    text, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise BadNote("not a signed note: expected text, an empty line, and signature lines that end in a newline")
    text += "\n"
    _check_text(text)
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise BadNote(f"a note with {len(lines)} signatures: expected at most {MAX_SIGNATURES}")
    return text, [_parse_signature_line(line) for line in lines]


def _parse_signature_line(line: str) -> tuple[str, bytes, bytes]:
    if not line.startswith(_LINE):
        raise BadNote(f"signature line {line[:120]!r}: expected an em dash, a space, a name, a space and base64")
    name, _, encoded = line[len(_LINE) :].partition(" ")
    _check_name(name)
    signature = from_base64(encoded)
    if signature is None or len(signature) < 5:
        raise BadNote(f"signature line {line[:120]!r}: expected base64 of a 4-byte key id and a signature")
    return name, signature[:4], signature[4:]


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise BadNote("a note's text must end in a newline")
    if any(character < " " and character != "\n" for character in text):
        raise BadNote("a note's text must not hold control characters other than newlines")


def _check_name(name: str) -> None:
    """Key names are not empty and have no Unicode space and no plus (C2SP signed-note, "Format")."""
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise BadNote(f"key name {name[:120]!r}: expected text without spaces and plus signs")


def _key_id(name: str, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes | None:
    """Standard base64 in its one canonical spelling (padded, no stray bits), or None."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _b64(data) == text else None
