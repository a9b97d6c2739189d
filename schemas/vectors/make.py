"""Writes the vectors beside this file: what a reader or writer in another language must give, byte for byte.

`python schemas/vectors/make.py` writes them anew; a test holds files and code equal. The key is made for these vectors
and signs nothing else. docs/format.md says what the members mean; bytes that need not be text are in hex.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from sealstream.errors import NotCanonical
from sealstream.sealing import (
    EMPTY_RANGE,
    BadNote,
    Checkpoint,
    Sealed,
    Signer,
    Written,
    canonical_json,
    check_entries,
    consistency_proof,
    entry_hash,
    extend,
    format_proof,
    genesis_hash,
    inclusion_proof,
    leaf_hash,
    open_checkpoint,
    parse_json,
    seal,
    sign_checkpoint,
    sign_note,
    split_sealed,
    start_tip,
    tree_root,
)

ORIGIN = "vectors.example/main"

CANONICAL = {
    "members in order of UTF-16 units": '{"\ufb33":1,"\U0001f600":2,"\u20ac":3,"\xf6":4,"\x80":5,"1":6,"\\r":7,"":8}',
    "a private use character sorts behind an astral one": '{"\ue000":1,"\U00010000":2,"\ud7ff":3}',
    "nested": '{"b":[{"d":1,"c":[]},{}],"a":{"z":null,"y":true,"x":false}}',
    "whitespace": ' {\t"a" :\r\n[ 1 , 2 ] } ',
    "escapes": '"\\u0000\\u0001\\u0008\\u0009\\u000a\\u000b\\u000c\\u000d\\u001F\\u0022\\u005C\\/\\u007F"',
    "written raw": '"\\u00e9\\u2028\\u2029\\ufeff\\uffff\\ud83d\\ude00\\u0080"',
    "not normalised": '{"\\u1e0d\\u0307":"\\u0041\\u030a"}',
    "quotes in a name": '{"a\\"b":1,"a\\\\b":2}',
    "a name like __proto__": '{"__proto__":1,"constructor":2,"10":3,"9":4}',
    "integers": "[0,-0,1,-1,10,9007199254740991,-9007199254740991]",
    "integers written as floats": "[0.0,-0.0,1.0,1e0,1E2,0.5e1,9007199254740991.0,9007199254740991.4]",
    "fractions": "[0.1,4.50,2e-3,333333333.33333329,1424953923781206.25,0.000001,0.0000001,1e-27]",
    "small": "[5e-324,2.2250738585072014e-308,1e-400,9.999999999999997e-7]",
    "negative": "[-0.0000033333333333333333,-1e-7,-0.5]",
}
REFUSED = {
    "a name twice": b'{"a":1,"a":1}',
    "a name twice, deep": b'[{"b":[{"a":1,"c":2,"\\u0061":3}]}]',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'{"\\udc00":1}',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "overlong UTF-8": b'"\xc0\x80"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "beyond doubles": b"1e400",
    "2^53": b"9007199254740992",
    "-2^53": b"-9007199254740992",
    "2^53 as a float": b"9007199254740992.0",
    "rounds up to 2^53": b"9007199254740991.9",
    "1e20": b"1e20",
    "1E21": b"1E21",
    "an integer beyond 64 bits": b"123456789012345678901234567890",
    "a control character": b'"\x1f"',
    "a leading zero": b"01",
    "a trailing comma": b"[1,]",
    "trailing bytes": b"{} {}",
    "nothing": b"",
}


def key() -> Signer:
    """The vectors' key: its seed is the SHA-256 of `a key for vectors only`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = sha256(b"a key for vectors only").digest()
    return Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(seed))


def canonical() -> dict[str, Any]:
    """Inputs with their canonical bytes, and inputs that are refused."""
    accepted = []
    for name, text in CANONICAL.items():
        data = text.encode()
        written = canonical_json(parse_json(data))
        accepted.append({"name": name, "input": data.hex(), "canonical": written.hex(), "text": written.decode()})
    refused = []
    for name, data in REFUSED.items():
        try:
            parse_json(data)
        except NotCanonical:
            refused.append({"name": name, "input": data.hex()})
    assert len(refused) == len(REFUSED)
    return {"accepted": accepted, "refused": refused}


def at(tenth: int) -> str:
    """A time of the vectors' day."""
    return f"2026-11-24T03:00:{tenth // 10:02}.{tenth % 10}00000Z"


def chain_entries() -> list[Sealed]:
    """A small chain in which every kind of entry and every way of the account occurs."""
    entries: list[Sealed] = []
    offsets = {"raw": -1, "control": -1}

    def add(kind: str, event: dict[str, Any], **moved: int) -> None:
        seq = len(entries)
        offsets.update(moved)
        common = {"id": f"00000000-0000-7000-8000-{seq:012}", "result": "success", "timestamp": at(seq * 10)}
        received_at = None if kind == "log" else at(seq * 10 - 1)
        written = Written("main", offsets["control"], kind, offsets["raw"], received_at, seq, at(seq * 10))
        previous = entries[-1].hash if entries else genesis_hash(ORIGIN)
        entries.append(seal(canonical_json(common | event), written, previous))

    def log(action: str, metadata: dict[str, Any] | None, **moved: int) -> None:
        event = {"action": action, "actor_id": "sealstream/sequencer", "actor_type": "system"}
        event |= {"resource_type": "chain", "resource_id": "main"}
        add("log", event if metadata is None else event | {"metadata": metadata}, **moved)

    def read(patient: str, raw: int, **more: Any) -> None:
        event = {"action": "read", "actor_id": "dr.meyer", "actor_type": "user", "resource_type": "patient"}
        add("event", event | {"resource_id": patient} | more, raw=raw)

    log(
        "chain.created",
        {
            "origin": ORIGIN,
            "vkey": key().vkey,
            "nonce": "5e" * 32,
            "retention": {"policy": "hipaa", "archive_days": 2196},
        }
        | {"segment_entries": 100_000, "segment_bytes": 67_108_864, "segment_seconds": 300},
    )
    started = {"host": "a", "version": "0.1.0", "raw_topic_id": "AAAAAAAAAAAAAAAAAAAAAQ"}
    log("sequencer.started", started | {"control_topic_id": "AAAAAAAAAAAAAAAAAAAAAg"})
    read("4711", 0, ip_address="192.0.2.17", metadata={"duration_ms": 12.5, "http_status": 200})
    read("Zoë \U0001f600 \u2028", 1, metadata={"\ue000": 1, "\U00010000": 2, "written": {"seq": 5}})
    digest = sha256(sha256(b"{").digest()).hexdigest()
    items = [
        {"what": "empty", "first": 2, "last": 2},
        {"what": "refused", "first": 3, "last": 3, "sha256": digest, "reason": "not JSON"},
        {"what": "repeated", "first": 4, "last": 4, "sha256": sha256(sha256(b"{}").digest()).hexdigest(), "of": 2},
    ]
    log("input.passed", {"topic": "raw", "items": items}, raw=4)
    read("4711", 5, result="denied", reason="not on the ward")
    archived = {"object": "entries/chain=main/date=2026-11-24/0-5.parquet", "retain_until": at(0)}
    event = {"action": "segment.archived", "actor_id": "sealstream/archive", "actor_type": "system"}
    add("control", event | {"resource_type": "segment", "resource_id": "0-5", "metadata": archived}, control=0)
    lost = {"topic": "raw", "old_topic_id": "AAAAAAAAAAAAAAAAAAAAAQ", "new_topic_id": "AAAAAAAAAAAAAAAAAAAAAw"}
    log("input.lost", lost | {"first": 6}, raw=-1)
    read("4712", 0, metadata={"action": "input.passed"})
    log("chain.heartbeat", None)
    read("4712", 1, changed_fields=["diagnosis"], new_values={"diagnosis": None}, old_values={"diagnosis": "J06.9"})
    return entries


def chain() -> tuple[dict[str, Any], dict[str, bytes]]:
    """The chain with its hashes, roots, ranges, checkpoint and proofs; and the same as files for a verifier."""
    entries = chain_entries()
    checked = check_entries(start_tip(ORIGIN), [entry.to_bytes() for entry in entries], "main")
    assert not checked.problems, checked.problems
    hashes = [entry.hash for entry in entries]
    size = len(entries) - 1  # one entry is not yet signed
    signing = key()
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree_root(hashes[:size])), signing)
    assert open_checkpoint(note, signing.vkey).size == size
    facts = {
        "origin": ORIGIN,
        "chain": "main",
        "seed": sha256(b"a key for vectors only").hexdigest(),
        "vkey": signing.vkey,
        "genesis_hash": genesis_hash(ORIGIN).hex(),
        "entries": [
            {
                "sealed": entry.to_bytes().decode(),
                "body_bytes": len(entry.body),
                "prev_hash": entry.prev_hash.hex(),
                "hash": entry.hash.hex(),
                "event_sha256": sha256(entry.body[: entry.body.rfind(b',"written":{"chain"')] + b"}").hexdigest(),
            }
            for entry in entries
        ],
        "roots": [tree_root(hashes[:n]).hex() for n in range(len(hashes) + 1)],
        "compact_ranges": [
            [node.hex() for node in extend(EMPTY_RANGE, hashes[:n]).hashes] for n in range(len(hashes) + 1)
        ],
        "checkpoint": note.decode(),
        "proof_of_entry_4": format_proof(4, inclusion_proof(hashes[:size], 4), note).decode(),
    }
    files = {
        "chain.ndjson": b"".join(entry.to_bytes() + b"\n" for entry in entries),
        "checkpoint.note": note,
        "vkey.txt": signing.vkey.encode() + b"\n",
    }
    return facts, files


def tampered() -> list[dict[str, Any]]:
    """The chain with one fault each, and what continuity says of it: kind and seq, in order."""
    values = [entry.to_bytes() for entry in chain_entries()]

    def resealed(number: int, old: bytes, new: bytes) -> bytes:
        body, prev_hash, _ = split_sealed(values[number])
        assert old in body
        body = body.replace(old, new)
        return Sealed(body, prev_hash, entry_hash(prev_hash, body)).to_bytes()

    copies = {
        "an edited entry": [*values[:2], values[2].replace(b'"4711"', b'"4712"'), *values[3:]],
        "an edited entry, sealed anew": [*values[:2], resealed(2, b'"4711"', b'"4712"'), *values[3:]],
        "a removed entry": [*values[:5], *values[6:]],
        "two removed entries": [*values[:5], *values[7:]],
        "a removed head": values[1:],
        "an entry twice": [*values[:6], *values[5:]],
        "two entries swapped": [*values[:5], values[6], values[5], *values[7:]],
        "an account with a gap": [*values[:4], resealed(4, b'"first":2,"last":2', b'"first":3,"last":2')],
        "a raw offset skipped": [*values[:10], resealed(10, b'"raw_offset":1', b'"raw_offset":2')],
        "a time that goes back": [
            *values[:10],
            resealed(10, b'"sequenced_at":"2026-11-24T03:00:10', b'"sequenced_at":"2026-11-24T03:00:01'),
        ],
        "a later version of the seal": [*values[:10], resealed(10, b'"v":1', b'"v":2')],
    }
    return [
        {
            "name": name,
            "entries": [value.decode() for value in copy],
            "problems": [
                [problem.kind, problem.seq]
                if problem.last_seq is None
                else [problem.kind, problem.seq, problem.last_seq]
                for problem in check_entries(start_tip(ORIGIN), copy, "main").problems
            ],
        }
        for name, copy in copies.items()
    ]


def merkle() -> dict[str, Any]:
    """Trees over the leaves 0x, 0x00, 0x0001, ...: leaf hashes, roots and ranges by size, and every proof."""
    count = 12
    leaves = [leaf_hash(bytes(range(n))) for n in range(count)]
    return {
        "leaf_hashes": [leaf.hex() for leaf in leaves],
        "roots": [tree_root(leaves[:n]).hex() for n in range(count + 1)],
        "compact_ranges": [[node.hex() for node in extend(EMPTY_RANGE, leaves[:n]).hashes] for n in range(count + 1)],
        "inclusion": [
            {"index": i, "size": n, "proof": [node.hex() for node in inclusion_proof(leaves[:n], i)]}
            for n in range(1, count + 1)
            for i in range(n)
        ],
        "consistency": [
            {"size1": m, "size2": n, "proof": [node.hex() for node in consistency_proof(leaves[:n], m)]}
            for n in range(1, count + 1)
            for m in range(1, n + 1)
        ],
    }


def notes() -> dict[str, Any]:
    """Notes that a reader must open, and notes it must refuse, each as a checkpoint under this key."""
    signing = key()
    good = sign_checkpoint(Checkpoint(ORIGIN, 5, bytes(range(32))), signing)
    line = good.split(b"\n\n")[1]
    other = f"\u2014 witness.example {base64.b64encode(bytes(76)).decode()}\n".encode()
    bad_line = f"\u2014 {ORIGIN} {base64.b64encode(signing.verifier.key_id + bytes(64)).decode()}\n".encode()
    text = good.split(b"\n\n")[0].decode() + "\n"
    accepted = {"signed": good, "other signatures around ours": text.encode() + b"\n" + other + line + other}
    refused = {
        "not signed by this key": text.encode() + b"\n" + other,
        "a second signature by this key that fails": good + bad_line,
        "another size": good.replace(b"\n5\n", b"\n6\n"),
        "no newline at the end": good[:-1],
        "no empty line": good.replace(b"\n\n", b"\n"),
        "carriage returns": good.replace(b"\n", b"\r\n"),
        "a hyphen for the em dash": good.replace("\u2014".encode(), b"-"),
        "base64 without padding": good.replace(b"=\n", b"\n"),
        "not UTF-8": good.replace(b"vectors", b"vect\xffrs"),
        "size 0": sign_note(text.replace("\n5\n", "\n0\n"), signing),
        "a leading zero": sign_note(text.replace("\n5\n", "\n05\n"), signing),
        "an extension line": sign_note(text + "more\n", signing),
        "another origin": sign_note(text.replace("/main", "/other"), signing),
        "a root of 31 bytes": sign_note(f"{ORIGIN}\n5\n{base64.b64encode(bytes(31)).decode()}\n", signing),
    }
    for note in accepted.values():
        open_checkpoint(note, signing.vkey)
    told = []
    for name, note in refused.items():
        try:
            open_checkpoint(note, signing.vkey)
        except BadNote:
            told.append({"name": name, "note": note.hex()})
    assert len(told) == len(refused)
    return {
        "vkey": signing.vkey,
        "checkpoint": {"origin": ORIGIN, "size": 5, "root": bytes(range(32)).hex()},
        "accepted": [{"name": name, "note": note.hex()} for name, note in accepted.items()],
        "refused": told,
    }


def vectors() -> dict[str, bytes]:
    """Every file's name and bytes."""
    facts, files = chain()
    documents = {"canonical": canonical(), "chain": facts, "tampered": tampered(), "merkle": merkle(), "notes": notes()}
    texts = {f"{name}.json": json.dumps(document, indent=1) + "\n" for name, document in documents.items()}
    return files | {name: text.encode() for name, text in texts.items()}


if __name__ == "__main__":
    for name, data in vectors().items():
        (Path(__file__).parent / name).write_bytes(data)
