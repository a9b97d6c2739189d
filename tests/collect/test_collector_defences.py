"""Bounds that hold: memory, bombs, a Kafka that is away, certificates; and ids that follow from what was sent."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.collect.conftest import Collected, start_collector
from tests.collect.test_collector import event
from tests.long_runs import long_run
from tests.pipeline import Pipeline, say
from tests.web.test_serving import certificate

from sealstream.collect.keys import Key, KeyFile, new_key
from sealstream.collect.room import Room
from sealstream.collect.splitting import array_members, line_members
from sealstream.collect.unpacking import MOST_MEMBERS, PIECE_BYTES, Damaged, unpacker
from sealstream.devstack.ports import free_port
from sealstream.web.problems import Problem

pytestmark = long_run

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@contextmanager
def another(collected: Collected, folder: Path, settings: str, *options: str) -> Iterator[str]:
    """A collector with other settings, and the same keys."""
    pipeline = collected.pipeline
    (folder / "sealstream.toml").write_text(settings)
    keys = folder / "collect-keys.json"
    if not keys.exists():
        keys.symlink_to(pipeline.folder / "collect-keys.json")
    other = Pipeline(folder, pipeline.name, pipeline.admin_dsn)
    url, process = start_collector(other, *options, verify=False)
    yield url
    process.terminate()
    assert process.wait(15) == 0


def test_a_room_is_never_overfull_and_gives_back() -> None:
    room = Room(100)
    one, other = room.held(), room.held()
    one.take(60)
    with pytest.raises(Problem) as refused:
        other.take(50)
    assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "1")
    with pytest.raises(Problem) as refused:
        one.take(50)
    assert refused.value.status == 413
    one.give_back()
    one.give_back()
    other.take(100)
    assert room.taken == 100


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_bomb_goes_off_piece_by_piece(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(b"\0" * 50_000_000)
    unpacking = unpacker(encoding)
    assert unpacking is not None
    sizes = [len(piece) for piece in unpacking.pieces(bomb)]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= PIECE_BYTES
    unpacking.end()
    for several in (pack(b"one") + pack(b"two"), pack(b"onetwo")):
        again = unpacker(encoding)
        assert again is not None
        found = b"".join(piece for at in range(len(several)) for piece in again.pieces(several[at : at + 1]))
        assert found == b"onetwo"
        again.end()
    cut = unpacker(encoding)
    assert cut is not None
    list(cut.pieces(pack(b"one")[:-3]))
    with pytest.raises(Damaged):
        cut.end()


def test_members_keep_their_bytes_and_their_places() -> None:
    body = ' [ {"a": "é]"} ,7,\n[1, 2] ] '.encode()
    assert [(each.line, each.data) for each in array_members(body, 3)] == [
        (1, '{"a": "é]"}'.encode()),
        (2, b"7"),
        (3, b"[1, 2]"),
    ]
    assert [(each.line, each.data) for each in line_members(b"\n{}\r\n\n7", 9)] == [(2, b"{}"), (4, b"7")]
    for body in (b"[1,]", b"[1 2]", b"[1", b"[1]]", b"[", b"[,]", b"[NaN"):
        with pytest.raises(Problem) as refused:
            array_members(body, 9)
        assert refused.value.status == 400, body
    with pytest.raises(Problem) as refused:
        array_members(b"[" + b"1," * 1_000_000, 9)
    assert refused.value.status == 413


def test_a_certificate_is_no_key(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key_id, shown, digest = new_key()
    now = datetime.now(UTC)
    made = Key(
        id=key_id, name="n", sha256=digest, chain="main", actor_types=("user",), created_at=now, created_by="x",
        certificate=True,
    )  # fmt: skip
    file.change(lambda keys: [*keys, made])
    assert file.found(shown, now) is None
    assert file.of_certificate(digest, now) == made
    assert file.of_certificate("0" * 64, now) is None


def test_a_registered_certificate_counts_as_a_key(collected: Collected, tmp_path: Path) -> None:
    pipeline, client = collected.pipeline, tmp_path / "client"
    client.mkdir()
    certificate(client)
    certificate(tmp_path)
    pem, key = client / "cert.pem", client / "key.pem"
    said = pipeline.command("collect", "keys", "create", "scanner", "--chain", pipeline.name, "--certificate", str(pem))
    assert (said.code, said.out) == (0, ""), said.err
    options = (
        "--tls-cert",
        str(tmp_path / "cert.pem"),
        "--tls-key",
        str(tmp_path / "key.pem"),
        "--client-ca",
        str(pem),
    )
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with another(collected, tmp_path, pipeline.config.read_text(), *options) as url:
        sent, kind = event(), {"content-type": "application/json"}
        body = json.dumps(sent)
        assert httpx.post(f"{url}/v1/events", content=body, headers=kind, verify=trusted).status_code == 401
        trusted.load_cert_chain(pem, key)
        answer = httpx.post(f"{url}/v1/events", content=body, headers=kind, verify=trusted)
        assert answer.status_code == 202, answer.text
        written = collected.written()[sent["id"]][0]
        assert written["source"]["authenticated_as"].startswith("certificate ")
        assert pipeline.command("collect", "keys", "revoke", "scanner").code == 0
        assert httpx.post(f"{url}/v1/events", content=body, headers=kind, verify=trusted).status_code == 401

        strange = tmp_path / "strange"  # of an authority that is none of ours
        strange.mkdir()
        certificate(strange)
        untrusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        untrusted.load_cert_chain(strange / "cert.pem", strange / "key.pem")
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/v1/events", content=body, headers=kind, verify=untrusted)
    shown = sha256(ssl.PEM_cert_to_DER_cert(pem.read_text())).hexdigest()
    assert shown in (pipeline.folder / "collect-keys.json").read_text()


@long_run
def test_nothing_is_called_written_while_kafka_is_away(collected: Collected, tmp_path: Path) -> None:
    text = collected.pipeline.config.read_text()
    bootstrap = collected.pipeline.kafka.bootstrap
    assert bootstrap in text
    away = text.replace(bootstrap, "127.0.0.1:9").replace("[collect]", "[collect]\nacknowledged_in_seconds = 1")
    with another(collected, tmp_path, away) as url:
        headers = {"authorization": f"Bearer {collected.keys['any']}", "content-type": "application/json"}
        for _ in range(2):  # the second need not wait
            answer = httpx.post(f"{url}/v1/events", content=json.dumps(event()), headers=headers, timeout=60)
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:sealstream:problem:not-acknowledged"
            assert answer.headers["retry-after"] == "2"
            assert bootstrap not in answer.text
        ready = httpx.get(f"{url}/readyz", timeout=60)
        assert (ready.status_code, ready.json()["parts"]) == (503, {"kafka": "does not answer", "keys": "ok"})


def test_while_memory_is_full_others_are_told_to_come_again(collected: Collected, tmp_path: Path) -> None:
    text = collected.pipeline.config.read_text().replace("body_bytes = 100000", "body_bytes = 400000")
    with another(collected, tmp_path, text.replace("[collect]", "[collect]\nmemory_bytes = 1048576")) as url:
        headers = {"authorization": f"Bearer {collected.keys['any']}", "content-type": "application/x-ndjson"}
        lines = [json.dumps(event()) for _ in range(200)]
        small, large = "\n".join(lines[:190]), ("\n".join(lines) + "\n" * 400_000)[:310_000]
        assert httpx.post(f"{url}/v1/events", content=small, headers=headers).status_code == 202
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as slow:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            slow.sendall(f"POST /v1/events HTTP/1.1\r\nhost: x\r\n{head}content-length: {len(large)}\r\n\r\n".encode())
            slow.sendall(large[:-1].encode())
            refused = wait_for(lambda: httpx.post(f"{url}/v1/events", content=small, headers=headers), 503)
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["type"] == "urn:sealstream:problem:overloaded"
            one = httpx.post(f"{url}/v1/events", content=lines[0], headers=headers)
            assert one.status_code == 202  # there is room for less
            slow.sendall(large[-1:].encode())
            assert slow.recv(64).startswith(b"HTTP/1.1 202 ")
        assert httpx.post(f"{url}/v1/events", content=small, headers=headers).status_code == 202


def wait_for(ask: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """The first answer with this status."""
    for _ in range(200):
        answer = ask()
        if answer.status_code == status:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"never {status}: {answer.status_code} {answer.text[:300]}")


def test_limits_hold_for_a_key_and_for_who_guesses(collected: Collected, tmp_path: Path) -> None:
    text = collected.pipeline.config.read_text().replace("failures_per_minute = 100000", "failures_per_minute = 12")
    text = text.replace("[collect]", "[collect]\nrequests_per_minute = 40")
    with another(collected, tmp_path, text) as url:
        kind = {"content-type": "application/json"}
        mine = kind | {"authorization": f"Bearer {collected.keys['any']}"}

        def post(_: int) -> httpx.Response:
            return httpx.post(f"{url}/v1/events", content=json.dumps(event()), headers=mine, timeout=30)

        with ThreadPoolExecutor(8) as pool:  # at once, since the limit lets one more through each second and a half
            begun = time.monotonic()
            answers = list(pool.map(post, range(40)))
            took = time.monotonic() - begun
        assert {answer.status_code for answer in answers} == {202, 429}
        assert 10 <= sum(answer.status_code == 202 for answer in answers) <= 13 + took * 40 / 60
        assert min(int(answer.headers["retry-after"]) for answer in answers if answer.status_code == 429) >= 1
        other = mine | {"authorization": f"Bearer {collected.keys['acme']}"}  # whose limit is its own
        assert httpx.post(f"{url}/v1/events", content=json.dumps(event()), headers=other).status_code == 202
        guesses = [
            httpx.post(f"{url}/v1/events", content=b"{}", headers=kind | {"authorization": f"Bearer slk_{n}"})
            for n in range(5)
        ]
        assert [answer.status_code for answer in guesses] == [401, 401, 401, 429, 429]


def test_its_figures_say_what_it_did(collected: Collected, tmp_path: Path) -> None:
    pipeline, port = collected.pipeline, free_port(set())
    text = pipeline.config.read_text() + f"\n[metrics]\nports = {{ collect = {port} }}\nask_every_seconds = 0.2\n"
    with another(collected, tmp_path, text) as url:
        headers = {"authorization": f"Bearer {collected.keys['any']}", "content-type": "application/x-ndjson"}
        lines = "\n".join(json.dumps(each) for each in (event(), event(), event(result="maybe")))
        assert httpx.post(f"{url}/v1/events", content=lines, headers=headers).status_code == 207
        assert httpx.post(f"{url}/v1/events", content=lines).status_code == 401
        beside = f"http://127.0.0.1:{port}"
        wait_for(lambda: httpx.get(f"{beside}/readyz"), 200)
        assert httpx.get(f"{beside}/healthz").json()["process"] == "collect"
        told = {
            (sample.name, sample.labels.get("chain") or sample.labels.get("status")): sample.value
            for family in text_string_to_metric_families(httpx.get(f"{beside}/metrics").text)
            for sample in family.samples
        }
        assert told["sealstream_entries_total", pipeline.name] == 2
        assert told["sealstream_collect_refused_events_total", pipeline.name] == 1
        assert told["sealstream_collect_answers_total", "207"] == 1
        assert told["sealstream_collect_answers_total", "401"] == 1
        assert told["sealstream_store_reachable", None] == 1
        keys = tmp_path / "collect-keys.json"
        keys.unlink()
        keys.write_text("no keys")
        wait_for(lambda: httpx.get(f"{beside}/readyz"), 503)


def test_config_check_names_what_is_amiss(collected: Collected, tmp_path: Path) -> None:
    pipeline = collected.pipeline
    config = tmp_path / "sealstream.toml"
    config.write_text(pipeline.config.read_text())

    def found() -> list[tuple[str, str]]:
        told = json.loads(say(config, "config", "check", "--json").out)
        return [(each["state"], each["said"]) for each in told if each["about"] == "collect"]

    (listens, none) = found()
    assert listens == ("ok", "127.0.0.1 port 8481, no TLS")
    assert (none[0], "every request is refused" in none[1]) == ("warning", True)
    keys = KeyFile(tmp_path / "collect-keys.json")
    now = datetime.now(UTC)
    made = {"sha256": "0" * 64, "chain": pipeline.name, "actor_types": ("user",), "created_at": now, "created_by": "x"}
    keys.change(
        lambda _: [
            Key(id="1", name="soon", expires_at=now + timedelta(days=2), **made),
            Key(id="2", name="astray", **made | {"chain": "gone"}),
            Key(id="3", name="scanner", certificate=True, **made),
            Key(id="4", name="old", revoked_at=now, **made),
        ]
    )
    _, counted, *others = found()
    assert (counted[0], counted[1].startswith("3 keys in ")) == ("ok", True)
    assert [state for state, _ in others] == ["warning"] * 3
    for words, (_, said) in zip(
        ("soon expires", "astray is tied to chain gone", "nobody is asked"), others, strict=True
    ):
        assert words in said
    text = config.read_text()
    config.write_text(text.replace("[collect]", "[collect]\nhost = '0.0.0.0'"))
    assert found()[0][0] == "warning"
    config.write_text(text.replace("[collect]", "[collect]\ntls_cert = 'gone.pem'\ntls_key = 'gone.pem'"))
    ((state, said),) = found()
    assert (state, "there is no file" in said) == ("wrong", True)
    assert say(config, "config", "check").code == 1


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_body_of_very_many_empty_parts_is_refused(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    unpacking = unpacker(encoding)
    assert unpacking is not None
    assert b"".join(unpacking.pieces(pack(b"") * (MOST_MEMBERS - 1) + pack(b"end"))) == b"end"
    with pytest.raises(Damaged, match="1,000 parts"):
        list(unpacking.pieces(pack(b"")))


def test_a_number_of_any_length_ends_where_it_ends() -> None:
    long = b'{"a":' + b"1" * 5_000 + b"}"
    assert [each.data for each in array_members(b"[" + long + b",2]", 9)] == [long, b"2"]
