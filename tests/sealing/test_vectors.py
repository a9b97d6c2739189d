"""The vectors in schemas/vectors: equal to the code, true by other means, enough for a reader in another language."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from sealstream.errors import NotCanonical
from sealstream.sealing import (
    BadNote,
    canonical_json,
    check_entries,
    is_canonical,
    open_checkpoint,
    open_proof,
    parse_json,
    split_sealed,
    start_tip,
    verify_consistency,
    verify_inclusion,
)

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "schemas" / "vectors"
VERIFY = ROOT / "examples" / "verify-in-node" / "verify.mjs"
NODE = shutil.which("node")


def load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def test_the_files_are_what_the_code_writes() -> None:
    spec = importlib.util.spec_from_file_location("make_vectors", VECTORS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    written = make.vectors()
    assert set(written) == {path.name for path in VECTORS.iterdir() if path.is_file()} - {"make.py"}
    for name, data in written.items():
        assert (VECTORS / name).read_bytes() == data, (
            f"{name}: run python schemas/vectors/make.py and read the difference"
        )


def test_canonical_vectors() -> None:
    vectors = load("canonical")
    for case in vectors["accepted"]:
        given, expected = bytes.fromhex(case["input"]), bytes.fromhex(case["canonical"])
        assert canonical_json(parse_json(given)) == expected == rfc8785.dumps(json.loads(given))
        assert is_canonical(expected)
    for case in vectors["refused"]:
        with pytest.raises(NotCanonical):
            parse_json(bytes.fromhex(case["input"]))


def test_tampered_vectors() -> None:
    for case in load("tampered"):
        found = check_entries(start_tip("vectors.example/main"), [text.encode() for text in case["entries"]], "main")
        assert [[x for x in (p.kind, p.seq, p.last_seq) if x is not None] for p in found.problems] == case["problems"]
        assert case["problems"]


def test_merkle_vectors() -> None:
    vectors = load("merkle")
    leaves = [bytes.fromhex(leaf) for leaf in vectors["leaf_hashes"]]
    roots = [bytes.fromhex(root) for root in vectors["roots"]]
    for case in vectors["inclusion"]:
        index, size, proof = case["index"], case["size"], [bytes.fromhex(node) for node in case["proof"]]
        assert verify_inclusion(leaves[index], index, size, proof, roots[size])
    for case in vectors["consistency"]:
        first, second, proof = case["size1"], case["size2"], [bytes.fromhex(node) for node in case["proof"]]
        assert verify_consistency(first, second, proof, roots[first], roots[second])


def test_note_vectors() -> None:
    vectors = load("notes")
    for case in vectors["accepted"]:
        checkpoint = open_checkpoint(bytes.fromhex(case["note"]), vectors["vkey"])
        assert checkpoint._replace(root=checkpoint.root.hex())._asdict() == vectors["checkpoint"]
    for case in vectors["refused"]:
        with pytest.raises(BadNote):
            open_checkpoint(bytes.fromhex(case["note"]), vectors["vkey"])


def test_chain_vectors() -> None:
    vectors = load("chain")
    values = (VECTORS / "chain.ndjson").read_bytes().splitlines()
    assert [entry["sealed"].encode() for entry in vectors["entries"]] == values
    assert all(is_canonical(split_sealed(value).body) for value in values)
    checkpoint = open_checkpoint(vectors["checkpoint"].encode(), vectors["vkey"])
    assert vectors["roots"][checkpoint.size] == checkpoint.root.hex()
    seq, _ = open_proof(vectors["proof_of_entry_4"].encode(), split_sealed(values[4]).hash, vectors["vkey"])
    assert seq == 4


def in_node(folder: Path, **changed: bytes) -> tuple[int, str]:
    """Exit code and output of verify.mjs over the vectors' files, some of them changed."""
    paths = []
    for name in ("chain.ndjson", "checkpoint.note", "vkey.txt"):
        path = folder / name
        path.write_bytes(changed.get(name.split(".")[0], (VECTORS / name).read_bytes()))
        paths.append(str(path))
    assert NODE is not None
    done = subprocess.run([NODE, str(VERIFY), *paths], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed: the reader in another language is not run")


@needs_node
def test_a_reader_in_node_verifies_the_chain(tmp_path: Path) -> None:
    assert in_node(tmp_path) == (
        0,
        "verified: vectors.example/main, 10 entries signed, 1 more linked but not yet signed\n",
    )


@needs_node
def test_a_reader_in_node_agrees_on_every_canonical_vector(tmp_path: Path) -> None:
    script = tmp_path / "canonical.mjs"
    source = VERIFY.read_text()
    function = source[source.index("const fail") : source.index("\nfunction openCheckpoint")]
    script.write_text(
        "import { readFileSync } from 'node:fs'\n"
        + function
        + """
const vectors = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const read = hex => canonical(JSON.parse(decoder.decode(Buffer.from(hex, 'hex'))))
for (const { name, input, canonical } of vectors.accepted)
  if (Buffer.from(read(input)).toString('hex') !== canonical) throw new Error(name)
for (const { name, input } of vectors.refused) {
  let text; try { text = Buffer.from(read(input)).toString('hex') } catch { continue }
  if (text === input) throw new Error(`taken for canonical: ${name}`)
}
console.log(vectors.accepted.length + vectors.refused.length)
"""
    )
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(script), str(VECTORS / "canonical.json")], capture_output=True, text=True, timeout=60, check=False
    )
    vectors = load("canonical")
    assert done.stdout == f"{len(vectors['accepted']) + len(vectors['refused'])}\n", done.stderr


LINES = (VECTORS / "chain.ndjson").read_bytes().splitlines(keepends=True)
NOTE = (VECTORS / "checkpoint.note").read_bytes()
VKEY = (VECTORS / "vkey.txt").read_bytes()
TAMPERED = {
    "an edited entry": (LINES[2].replace(b"4711", b"4712"), 2, "entry 2: edited"),
    "an edited seal": (LINES[2][:-66] + b"0" + LINES[2][-65:], 2, "entry 2: edited"),
    "another spelling": (LINES[2].replace(b'":', b'": ', 1), 2, "entry 2: edited"),
    "no seal": (b'{"a":1}\n', 2, "entry 2: has no seal"),
    "a removed entry": (b"", 5, "entry 5: missing"),
    "an entry twice": (LINES[5] + LINES[5], 5, "entry 6: missing, inserted or reordered: 5 stands in its place"),
    "an end cut off": (LINES[10][:-1], 10, "entry 10: cut off"),
}


@needs_node
@pytest.mark.parametrize("fault", TAMPERED)
def test_a_reader_in_node_finds_and_places_tampering(fault: str, tmp_path: Path) -> None:
    line, number, expected = TAMPERED[fault]
    code, output = in_node(tmp_path, chain=b"".join([*LINES[:number], line, *LINES[number + 1 :]]))
    assert (code, output.startswith(f"FAILED: {expected}")) == (1, True), output


@needs_node
def test_a_reader_in_node_finds_a_rewritten_chain_and_a_bad_checkpoint(tmp_path: Path) -> None:
    resealed = next(case for case in load("tampered") if case["name"] == "an edited entry, sealed anew")["entries"]
    code, output = in_node(tmp_path, chain=b"".join(text.encode() + b"\n" for text in resealed))
    assert (code, output.startswith("FAILED: entry 3: forked")) == (1, True), output
    # Cut after the edited entry and signed at that size by nobody: only the root can tell.
    code, output = in_node(tmp_path, chain=b"".join(LINES[:9]))
    assert (code, output.startswith("FAILED: entry 9: missing")) == (1, True), output
    code, output = in_node(tmp_path, checkpoint=NOTE.replace(b"\n10\n", b"\n9\n"))
    assert (code, output) == (1, "FAILED: checkpoint: wrong signature\n")
    code, output = in_node(tmp_path, checkpoint=NOTE.replace(b"main ", b"other "))
    assert (code, output.startswith("FAILED: checkpoint: no signature by")) == (1, True), output
    code, output = in_node(tmp_path, vkey=VKEY.replace(b"main", b"other"))
    assert (code, output.startswith("FAILED: vkey: not an Ed25519 key, or not with this id")) == (1, True), output
    (tmp_path / "gone").mkdir()
    assert NODE is not None
    missing = [NODE, str(VERIFY), str(tmp_path / "gone" / "a"), str(tmp_path / "b"), str(tmp_path / "c")]
    assert subprocess.run(missing, capture_output=True, timeout=60, check=False).returncode == 2


@needs_node
def test_a_reader_in_node_finds_a_history_that_is_rewritten_from_one_entry_on(tmp_path: Path) -> None:
    from sealstream.sealing import Sealed, entry_hash

    values, previous = [], split_sealed(LINES[2].rstrip()).prev_hash
    for line in LINES[2:]:
        body = split_sealed(line.rstrip()).body.replace(b'"4711"', b'"4712"')
        own_hash = entry_hash(previous, body)
        values.append(Sealed(body, previous, own_hash).to_bytes() + b"\n")
        previous = own_hash
    code, output = in_node(tmp_path, chain=b"".join([*LINES[:2], *values]))
    assert (code, output) == (1, "FAILED: entries 0 to 9: rewritten: their Merkle root is not the signed one\n")
