"""CloudTrail's public keys, as people have them: files of several forms, or CloudTrail's API."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.importers.listed_keys import ListedKeys
from tests.importers.trails import Trail, new_key, pkcs1

from sealstream.cli.import_validating import given_keys, keys_of_aws
from sealstream.errors import Misconfigured

KEYS = [new_key() for _ in range(3)]
BEGIN, END = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def trail() -> Trail:
    return Trail(6, lambda hour: KEYS[hour // 2])


def test_files_of_every_form(trail: Trail, tmp_path: Path) -> None:
    public = KEYS[0].public_key()
    (tmp_path / "0.pem").write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "1.der").write_bytes(pkcs1(KEYS[1]))
    listed = {"Value": base64.b64encode(pkcs1(KEYS[2])).decode(), "Fingerprint": "any"}
    (tmp_path / "2.json").write_text(json.dumps({"PublicKeyList": [listed]}))
    assert trail.judge(given_keys(tmp_path)).findings == []


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.pem", b"-----BEGIN NOTHING", "holds no public key"),
        ("a.der", b"nothing", "holds no public key"),
        ("a.json", b"{}", "is no answer of"),
        (
            "a.pem",
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            "not RSA",
        ),
        ("", b"", "holds no public key: expected"),
    ],
)
def test_what_is_no_key_is_said(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    if name:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(Misconfigured, match=said):
        given_keys(tmp_path)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListedKeys]:
    with ListedKeys(KEYS) as listed:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDTRAIL", listed.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        yield listed


def test_cloudtrails_api_is_asked_for_more_than_the_time_and_for_every_page(trail: Trail, api: ListedKeys) -> None:
    assert trail.judge(keys_of_aws({"eu-west-1"}, BEGIN, END)).findings == []
    assert len(api.asked) == 3
    assert api.asked[0]["StartTime"] <= BEGIN.timestamp() - 7_200
    assert api.asked[0]["EndTime"] >= END.timestamp() + 7_200


def test_without_credentials_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Misconfigured, match="give them with --keys"):
        keys_of_aws({"eu-west-1"}, BEGIN, END)
