"""The roles are what the code calls: each call of a real run is let through, and no role may do more."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.client import BaseClient
from tests.archive.conftest import MadeChain, Stage
from tests.deploy.terraform.aws_calls import (
    MAKES_BUCKETS,
    PERMISSIONS,
    operations_in_code,
    requests_of,
    services_in_code,
)
from tests.deploy.terraform.iam import Request, allowed, statements
from tests.deploy.terraform.module import ACCOUNT, VALUES
from tests.long_runs import long_run

from sealstream.archive import ArchiveSettings, ArchiveStore, init_bucket
from sealstream.archive.canary import sweep_canaries, try_canary
from sealstream.archive.init import lengthen_default_retention
from sealstream.archive.lengthening import lengthen_locks
from sealstream.archive.watched import watched_by
from sealstream.cli.import_sources import Objects
from sealstream.errors import Misconfigured
from sealstream.health.asking import archived
from sealstream.health.lagging import archive_answers
from sealstream.kafka import KafkaSettings
from sealstream.layout import Retention
from sealstream.verify import ChainIdentity, Verification, verify_archive

pytestmark = long_run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Call = tuple[str, dict[str, Any]]


def test_every_call_in_the_code_has_its_permission_thought_of() -> None:
    found = operations_in_code()
    assert set(found) == set(PERMISSIONS), found
    assert services_in_code() == {"s3", "cloudtrail"}


def test_what_makes_buckets_is_called_where_a_bucket_is_made_and_nowhere_else() -> None:
    found = operations_in_code()
    assert {file for name in MAKES_BUCKETS for file in found[name]} == {"sinks/sealstream/archive/init.py"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """All calls that boto3 makes from now on, as its API names them."""
    made: list[Call] = []
    really: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined]

    def noted(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        made.append((operation, dict(parameters)))
        return really(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return made


@pytest.fixture
def archive(kafka: KafkaSettings, new_bucket: ArchiveSettings) -> Iterator[Stage]:
    """A chain of some segments, with the topics that a sink reads, and its bucket."""
    stage = Stage(kafka, new_bucket, MadeChain(prefix=f"t{uuid.uuid4().hex[:10]}"))
    stage.chain.events(45)
    stage.publish()
    yield stage
    stage.close()


class Judge:
    """Holds recorded calls against a role, the bucket's policy and the key's, as AWS would."""

    def __init__(self, documents: dict[str, Any], bucket: str) -> None:
        self.documents = documents
        self.bucket = bucket

    def used(self, process: str, calls: list[Call], named: str = "archive") -> set[str]:
        """The actions that these calls need, each let through for this process."""
        who = f"arn:aws:iam::{ACCOUNT}:role/sealstream-{process}"
        identity = [self.documents["process_policies"][process]]
        actions = set()
        for operation, parameters in calls:
            assert parameters.get("Bucket", self.bucket) == self.bucket
            call = {**parameters, "Bucket": VALUES[f"{named}_bucket"]}
            for each in requests_of(who, operation, call):
                kind = "key" if each.action.startswith("kms:") else "bucket"
                assert allowed(each, identity, self.documents[f"{named}_{kind}_policy"]), (process, operation, each)
                actions.add(each.action)
        return actions

    def granted(self, process: str) -> set[str]:
        """All actions that the role has."""
        found: set[str] = set()
        for each in statements([self.documents["process_policies"][process]]):
            found |= {each["Action"]} if isinstance(each["Action"], str) else set(each["Action"])
        return found


def test_the_archive_sink_calls_what_its_role_lets_it_and_needs_all_of_it(
    documents: dict[str, Any], archive: Stage, calls: list[Call]
) -> None:
    sink = archive.sink(trim_every_s=0.0)
    archive.run(sink)
    while sink.step():  # what is left to trim
        pass
    sink.close()
    archive_answers(archive.bucket_settings, lambda: 0.0)()
    _hold(archive)
    judge = Judge(documents, archive.bucket_settings.bucket)
    assert judge.used("archive-sink", calls) == judge.granted("archive-sink")


def test_a_sink_that_adopts_what_was_locked_for_less_lengthens_the_lock(
    documents: dict[str, Any], archive: Stage, calls: list[Call]
) -> None:
    key_and_bytes = _archived_elsewhere(archive)
    for key, data in key_and_bytes:
        assert archive.bucket.put_once(key, data, datetime.now(UTC) + timedelta(days=1))
    del calls[:]
    archive.archive_all()
    judge = Judge(documents, archive.bucket_settings.bucket)
    assert judge.used("archive-sink", calls) <= judge.granted("archive-sink")
    assert "PutObjectRetention" in {operation for operation, _ in calls}


def _hold(archive: Stage) -> None:
    """Sets a legal hold as the sink and `sealstream retention hold apply` do, and releases it."""
    stored = archive.stored_segments()[0].object
    version = stored.versions[0].version_id or ""
    for on in (True, False):
        archive.bucket.hold(stored.key, version, on)
        assert archive.bucket.held(stored.key, version) is on


def _archived_elsewhere(archive: Stage) -> list[tuple[str, bytes]]:
    """The objects that a sink makes of the chain's first segment."""
    from tests.archive.conftest import build

    from sealstream.layout.archive import SegmentName

    segment = archive.chain.segments[0]
    day = f"{archive.chain.at:%Y-%m-%d}"
    name = SegmentName(archive.chain.name, day, segment.first_seq, segment.last_seq)
    return [(name.object_key, build(archive.chain, segment))]


def test_verifiers_and_the_api_read_what_their_role_lets_them(
    documents: dict[str, Any], archive: Stage, calls: list[Call]
) -> None:
    archive.archive_all()
    del calls[:]
    chain = archive.chain.settings
    report = verify_archive(
        archive.bucket_settings,
        Verification(ChainIdentity(chain.name, chain.origin, chain.vkey), datetime.now(UTC)),
    )
    assert report.entries
    store = ArchiveStore(archive.bucket_settings, chain.name)
    for _, stored in store.objects():
        assert store.read_range(stored.key, stored.versions[0], 0, 4) == b"PAR1"
    store.close()
    held = archive.stored_segments()[0].object
    assert not archive.bucket.held(held.key, held.versions[0].version_id or "")
    judge = Judge(documents, archive.bucket_settings.bucket)
    for process in ("verifier", "serve"):
        assert judge.used(process, calls) == judge.granted(process)


def test_the_watch_reads_the_newest_manifest(documents: dict[str, Any], archive: Stage, calls: list[Call]) -> None:
    archive.archive_all()
    del calls[:]
    assert archived(archive.bucket_settings, archive.chain.settings).size
    judge = Judge(documents, archive.bucket_settings.bucket)
    assert judge.used("watch", calls) == judge.granted("watch")


def test_an_operator_makes_chains_and_lengthens_locks_in_the_bucket_that_is_there(
    documents: dict[str, Any], archive: Stage, calls: list[Call]
) -> None:
    archive.archive_all()
    del calls[:]
    chain = archive.chain.settings
    init_bucket(archive.bucket_settings, chain.retention)
    lengthen_default_retention(archive.bucket_settings, chain.retention)
    assert lengthen_locks(archive.bucket_settings, chain.name, Retention("2y", 732).archive_days).lengthened
    archived(archive.bucket_settings, chain)
    _hold(archive)
    watched_by(archive.bucket)
    now = datetime.now(UTC)
    tried = try_canary(archive.bucket, "one", now)
    assert (tried.went_through, tried.no_right) == ((), {})
    assert sweep_canaries(archive.bucket, now + timedelta(hours=1)) == 0  # its lock holds
    calls[:] = [each for each in calls if not _is_for_the_policy_to_refuse(each)]
    calls += [(operation, {}) for operation in ("DescribeTrails", "GetTrailStatus", "GetEventSelectors")]  # AWS's alone
    judge = Judge(documents, archive.bucket_settings.bucket)
    assert judge.used("operator", calls) == judge.granted("operator")


def _is_for_the_policy_to_refuse(call: Call) -> bool:
    """What the doctor tries beyond what Object Lock itself must refuse: to go round it as of GOVERNANCE mode."""
    return bool(call[1].get("BypassGovernanceRetention"))


def test_a_destruction_looks_and_deletes(
    make_documents: Callable[..., dict[str, Any]], archive: Stage, calls: list[Call]
) -> None:
    """S3 refuses, since the lock stands: the role is asked first."""
    archive.archive_all()
    del calls[:]
    archive.bucket.check()
    stored = archive.stored_segments()[0].object
    version = stored.versions[0].version_id or ""
    assert archive.bucket.lock(stored.key, version)
    assert not archive.bucket.held(stored.key, version)
    assert archive.bucket.read(stored.key, version, 2**30)
    with pytest.raises(Misconfigured):
        archive.bucket.delete(stored.key, version)
    made = make_documents(people={"destroyer": [f"arn:aws:iam::{ACCOUNT}:role/records"]})
    judge = Judge(made, archive.bucket_settings.bucket)
    assert judge.used("destroyer", calls) == judge.granted("destroyer")


def test_a_longer_default_retention_is_for_administrators(
    documents: dict[str, Any], archive: Stage, calls: list[Call]
) -> None:
    """What `sealstream chain retention` can't do here: retention_days in Terraform comes first."""
    lengthen_default_retention(archive.bucket_settings, Retention("2y", 732))
    (asked,) = [each for operation, call in calls for each in requests_of("", operation, call) if "Put" in each.action]
    who = f"arn:aws:iam::{ACCOUNT}:role/sealstream-operator"
    asked = Request(who, asked.action, f"arn:aws:s3:::{VALUES['archive_bucket']}")
    policies = documents["process_policies"]["operator"], documents["archive_bucket_policy"]
    assert not allowed(asked, [policies[0]], policies[1])


def test_an_import_reads_the_trail(
    documents: dict[str, Any],
    s3: S3Client,
    s3_settings: dict[str, Any],
    calls: list[Call],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": s3_settings["endpoint_url"],
        "AWS_DEFAULT_REGION": s3_settings["region"],
        "AWS_ACCESS_KEY_ID": s3_settings["access_key"],
        "AWS_SECRET_ACCESS_KEY": s3_settings["secret_key"],
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"t-{uuid.uuid4().hex[:16]}"
    key = f"AWSLogs/{ACCOUNT}/CloudTrail/eu-central-1/2026/11/24/file.json.gz"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
    del calls[:]
    objects = Objects()
    assert [each[0] for each in objects.listed(bucket, f"AWSLogs/{ACCOUNT}/")] == [key]
    assert b"".join(objects.chunks(bucket, key)) == b"{}"
    assert objects.whole(bucket, key) is not None
    calls.append(("ListPublicKeys", {}))  # asked of CloudTrail itself, which is not here
    judge = Judge(documents, bucket)
    assert judge.used("import", calls, named="trail") == judge.granted("import")
