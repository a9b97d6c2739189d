"""`sealstream import cloudtrail --validate`: where digests, logs and keys come from, and the verdict.

Only what a digest vouches for is imported then, and each file's content is hashed again as it is read for the import,
so nothing can be changed between the two.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sealstream.cli.import_sources import Objects, SourceFile
from sealstream.errors import Misconfigured, Unavailable
from sealstream.importers import BrokenFile
from sealstream.importers.digest_files import PublicKey, StoredFile, digests_among, log_time
from sealstream.importers.digests import Validation, validate
from sealstream.importers.unpacking import unpacked

__all__ = ["given_keys", "validated", "vouched_content", "vouched_files"]

_SIGNATURE = ".signature"
# A digest that ends just after a rotation is signed with the key before, or the one after.
_AROUND_A_ROTATION = timedelta(days=1)


def validated(
    path: str, keys: Path | None, since: datetime | None, until: datetime | None = None
) -> tuple[Validation, dict[str, SourceFile]]:
    """The verdict on a trail's folder or prefix, and the files by name. Raises `Misconfigured`, `Unavailable`."""
    if path.startswith("s3://"):
        bucket, _, prefix = path.removeprefix("s3://").partition("/")
        objects = Objects()
        files = {
            key: SourceFile(f"s3://{bucket}/{key}", version, size, partial(objects.chunks, bucket, key))
            for key, version, size, _ in objects.listed(bucket, prefix)
        }

        def read_object(key: str) -> StoredFile | None:
            found = objects.whole(bucket, key)
            return None if found is None else StoredFile(found[0], found[1].get("signature"))

        return validate(files, read_object, _keys(keys, files), bucket=bucket, since=since, until=until), files
    root = Path(path)
    if not root.is_dir():
        raise Misconfigured(f"{root} is no folder: --validate needs the folder that holds digests and logs")
    files = {}
    for each in sorted(root.rglob("*")):
        if each.is_file() and not each.name.endswith(_SIGNATURE):
            found = each.stat()
            version = f"{found.st_size}:{found.st_mtime_ns}"
            files[each.relative_to(root).as_posix()] = SourceFile(
                str(each), version, found.st_size, partial(_chunks, each)
            )
    return validate(files, partial(_read, root), _keys(keys, files), since=since, until=until), files


def _keys(folder: Path | None, names: Iterable[str]) -> list[PublicKey]:
    if folder is not None:
        return given_keys(folder)
    found = digests_among(names)
    return [] if found is None else keys_of_aws(*found)


def vouched_files(validation: Validation, files: dict[str, SourceFile]) -> Iterator[SourceFile]:
    """The log files that may be imported, in the order of their delivery."""
    early = datetime.min.replace(tzinfo=UTC)
    for name in sorted(validation.vouched, key=lambda each: (log_time(each) or early, each)):
        yield files[name]


def vouched_content(validation: Validation, files: dict[str, SourceFile], file: SourceFile) -> Iterator[bytes]:
    """The unpacked content of a file that was vouched for. Raises `BrokenFile` if it is another by now."""
    wanted = {files[name].name: digest for name, digest in validation.vouched.items()}[file.name]
    members, _ = unpacked(b"".join(file.chunks()))
    content = b"".join(members)
    if hashlib.sha256(content).hexdigest() != wanted:
        raise BrokenFile("was changed since it was validated")
    yield content


def given_keys(folder: Path) -> list[PublicKey]:
    """The public keys in a folder: PEM, DER (PKCS #1 or SubjectPublicKeyInfo), or what `aws cloudtrail
    list-public-keys` prints. Raises `Misconfigured` for a file that is none of these.
    """
    if not folder.is_dir():
        raise Misconfigured(f"{folder} is no folder: --keys names the folder with CloudTrail's public keys")
    keys: list[PublicKey] = []
    for each in sorted(folder.iterdir()):
        if not each.is_file() or each.name.startswith("."):
            continue
        data = each.read_bytes()
        if each.suffix == ".json":
            try:
                listed = json.loads(data)["PublicKeyList"]
                keys += [_key(str(each), base64.b64decode(one["Value"]), one["Fingerprint"]) for one in listed]
            except (ValueError, KeyError, TypeError) as error:
                raise Misconfigured(f"{each} is no answer of `aws cloudtrail list-public-keys`: {error!r}") from error
        else:
            keys.append(_key(str(each), data, each.stem))
    if not keys:
        raise Misconfigured(f"{folder} holds no public key: expected .pem, .der or .json files")
    return keys


def keys_of_aws(regions: set[str], begin: datetime, end: datetime) -> list[PublicKey]:
    """CloudTrail's keys for that time, from its API. Raises `Misconfigured` without credentials, `Unavailable`."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    keys: list[PublicKey] = []
    for region in sorted(regions):
        try:
            client: Any = boto3.session.Session().client("cloudtrail", region_name=region)
            asked: dict[str, Any] = {"StartTime": begin - _AROUND_A_ROTATION, "EndTime": end + _AROUND_A_ROTATION}
            while True:
                page = client.list_public_keys(**asked)
                keys += [_key(region, bytes(each["Value"]), each["Fingerprint"]) for each in page["PublicKeyList"]]
                if not page.get("NextToken"):
                    break
                asked["NextToken"] = page["NextToken"]
        except NoCredentialsError as error:
            raise Misconfigured(
                "CloudTrail's public keys can't be asked for without AWS credentials: give them with --keys FOLDER "
                "(`aws cloudtrail list-public-keys --start-time ... > keys/eu-west-1.json`)"
            ) from error
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"asking CloudTrail in {region} for its public keys: {error}") from error
    return keys


def _key(where: str, data: bytes, fingerprint: str) -> PublicKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        load = serialization.load_pem_public_key if data[:5] == b"-----" else serialization.load_der_public_key
        key = load(data)
    except ValueError as error:
        raise Misconfigured(f"{where} holds no public key: {error}") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise Misconfigured(f"{where} holds a key that is not RSA, as CloudTrail's are")
    forms = (serialization.PublicFormat.PKCS1, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = [key.public_bytes(serialization.Encoding.DER, form) for form in forms]
    own = {hashlib.md5(each, usedforsecurity=False).hexdigest() for each in der}
    return PublicKey(key, frozenset({fingerprint.lower(), *own}))


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        yield path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{path} can't be read: {error.strerror}") from error


def _read(root: Path, name: str) -> StoredFile | None:
    path = root / name
    beside = path.with_name(path.name + _SIGNATURE)
    try:
        return StoredFile(path.read_bytes(), beside.read_text().strip() if beside.exists() else None)
    except OSError:
        return None
