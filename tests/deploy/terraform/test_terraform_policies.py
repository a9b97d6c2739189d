"""What the policies of the Terraform module let through and what they refuse, by the very documents that it makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.deploy.terraform.aws_calls import requests_of
from tests.deploy.terraform.iam import Request, allowed, denied_by, statements
from tests.deploy.terraform.module import ACCOUNT, ARCHIVE_KEY, REGION, TRAIL_KEY, VALUES

ARCHIVE, TRAIL, ACCESS_LOG = (f"arn:aws:s3:::{VALUES[f'{each}_bucket']}" for each in ("archive", "trail", "access_log"))
OBJECT = f"{ARCHIVE}/entries/chain=main/date=2026-11-24/{0:020d}-{99:020d}.parquet"
ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:role/infrastructure"
TRAIL_ARN = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/sealstream"
EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "all", "Effect": "Allow", "Action": "*", "Resource": "*"}],
}
NOTHING_OF_AWS = {
    "sequencer",
    "checkpointing",
    "postgres-sink",
    "activity",
    "anomaly",
    "forward",
    "collect",
    "outbox-relay",
}
KEYS_ACTIONS = ("kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:DisableKeyRotation")


def role(process: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/sealstream-{process}"


class Archive:
    """The archive's bucket, as somebody with these policies of IAM finds it."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents

    def lets(self, who: str, operation: str, identity: list[Any] | None = None, **call: Any) -> bool:
        """Whether all goes through that the call needs, of the bucket and of the key."""
        key = {} if "Bucket" in operation else {"Key": OBJECT.removeprefix(f"{ARCHIVE}/")}
        asked = requests_of(who, operation, {"Bucket": VALUES["archive_bucket"], **key, **call})
        return all(
            allowed(
                each,
                self.identity(who) if identity is None else identity,
                self.documents["archive_key_policy" if each.action.startswith("kms:") else "archive_bucket_policy"],
            )
            for each in asked
        )

    def identity(self, who: str) -> list[Any]:
        policies = self.documents["process_policies"]
        return [policies[name] for name in policies if who == role(name)]


@pytest.fixture
def archive(documents: dict[str, Any]) -> Archive:
    return Archive(documents)


def soon(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def put(**changed: Any) -> dict[str, Any]:
    """As the archive sink puts; a change that is None leaves that parameter out."""
    call = {"IfNoneMatch": "*", "ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": soon(2196), **changed}
    return {name: value for name, value in call.items() if value is not None}


def retention(mode: str, days: float) -> dict[str, Any]:
    return {"VersionId": "v", "Retention": {"Mode": mode, "RetainUntilDate": soon(days)}}


def test_every_process_has_a_role_and_most_need_nothing_of_aws(documents: dict[str, Any]) -> None:
    roles = set(documents["trust_policies"])
    assert roles - set(documents["process_policies"]) == NOTHING_OF_AWS
    assert set(documents["processes_with_policy"]) == set(documents["process_policies"])


UNNAMED = {
    f"cloudtrail:{action}" for action in ("DescribeTrails", "GetEventSelectors", "GetTrailStatus", "ListPublicKeys")
}


def test_no_policy_of_a_role_has_a_wildcard_where_a_name_can_stand(documents: dict[str, Any]) -> None:
    policies = [*documents["process_policies"].values(), *documents["secrets_policies"].values()]
    for each in statements(policies):
        actions = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
        assert not any("*" in action for action in actions), each
        resources = each["Resource"] if isinstance(each["Resource"], list) else [each["Resource"]]
        # CloudTrail's public keys are no resource that could be named; which trails there are is what is asked.
        assert "*" not in resources or set(actions) <= UNNAMED, each
        assert each["Effect"] == "Allow"


def test_every_statement_has_a_name_of_its_own_and_every_document_fits(documents: dict[str, Any]) -> None:
    """Limits of AWS: 20,480 bytes of a bucket policy, 32,768 of a key policy, 10,240 of a role's inline policies."""
    for name, limit in (
        ("archive_bucket_policy", 20_480),
        ("trail_bucket_policy", 20_480),
        ("access_log_bucket_policy", 20_480),
        ("archive_key_policy", 32_768),
        ("trail_key_policy", 32_768),
    ):
        assert len(json.dumps(json.loads(documents[name]))) < limit
    for policy in [*documents["process_policies"].values(), *documents["trust_policies"].values()]:
        assert len(json.dumps(json.loads(policy))) < 2_048
        sids = [each["Sid"] for each in statements([policy])]
        assert len(sids) == len(set(sids))
        assert all(sid.isalnum() for sid in sids)


class TestTheArchivesBucket:
    def test_the_sink_puts_as_it_does(self, archive: Archive) -> None:
        assert archive.lets(role("archive-sink"), "PutObject", **put())

    @pytest.mark.parametrize(
        "changed",
        [
            {"IfNoneMatch": None},
            {"ObjectLockMode": None, "ObjectLockRetainUntilDate": None},
            {"ObjectLockMode": "GOVERNANCE"},
            {"ObjectLockRetainUntilDate": soon(89)},
            {"ServerSideEncryption": "AES256"},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": TRAIL_KEY},
            {"SSECustomerAlgorithm": "AES256"},
        ],
    )
    def test_nobody_puts_in_any_other_way(self, archive: Archive, changed: dict[str, Any]) -> None:
        """Over what is there, without a lock, with a weaker or shorter one, or readable with another key."""
        assert not archive.lets(role("archive-sink"), "PutObject", [EVERYTHING], **put(**changed))

    def test_its_own_key_may_be_named(self, archive: Archive) -> None:
        named = put(ServerSideEncryption="aws:kms", SSEKMSKeyId=ARCHIVE_KEY)
        assert archive.lets(role("archive-sink"), "PutObject", **named)

    @pytest.mark.parametrize(
        "who", [ADMINISTRATOR, role("operator"), role("serve"), f"arn:aws:iam::{ACCOUNT}:user/eve"]
    )
    def test_nobody_but_the_sink_puts_not_even_administrators(self, archive: Archive, who: str) -> None:
        assert not archive.lets(who, "PutObject", [EVERYTHING], **put())

    @pytest.mark.parametrize(
        "who", [ADMINISTRATOR, role("archive-sink"), role("operator"), f"arn:aws:iam::{ACCOUNT}:root"]
    )
    @pytest.mark.parametrize("action", ["DeleteObject", "DeleteObjectVersion", "BypassGovernanceRetention"])
    def test_nobody_deletes_or_bypasses(self, archive: Archive, who: str, action: str) -> None:
        asked = Request(who, f"s3:{action}", OBJECT)
        assert not allowed(asked, [EVERYTHING], archive.documents["archive_bucket_policy"])
        denials = set(denied_by(asked, [archive.documents["archive_bucket_policy"]]))
        assert ("OnlyTheDestroyerDeletesVersions" if action == "DeleteObjectVersion" else "NobodyDeletes") in denials

    def test_who_is_named_for_it_deletes_versions_and_nothing_else(
        self, make_documents: Callable[..., dict[str, Any]]
    ) -> None:
        """A lock and a legal hold keep a version from it all the same; there is no bypass of COMPLIANCE mode."""
        made = Archive(make_documents(people={"destroyer": [f"arn:aws:iam::{ACCOUNT}:role/records"]}))
        who = role("destroyer")
        assert made.lets(who, "DeleteObject", VersionId="v")
        assert made.lets(who, "GetObject", VersionId="v")
        assert not made.lets(who, "DeleteObject", [EVERYTHING])
        assert not made.lets(who, "PutObjectLegalHold", [EVERYTHING], VersionId="v")
        assert not made.lets(who, "PutObject", [EVERYTHING], **put())
        for other in (ADMINISTRATOR, role("operator"), role("archive-sink")):
            assert not made.lets(other, "DeleteObject", [EVERYTHING], VersionId="v")
        bypass = Request(who, "s3:BypassGovernanceRetention", OBJECT)
        assert not allowed(bypass, [EVERYTHING], made.documents["archive_bucket_policy"])

    def test_nobody_is_named_for_it_unless_somebody_is(self, documents: dict[str, Any]) -> None:
        assert "destroyer" not in documents["trust_policies"]
        assert "destroyer" not in documents["archive_bucket_policy"]

    def test_the_doctor_tries_locks_on_its_canaries_and_it_is_s3_that_refuses(
        self, make_documents: Callable[..., dict[str, Any]]
    ) -> None:
        archive = Archive(make_documents(people={"destroyer": [f"arn:aws:iam::{ACCOUNT}:role/records"]}))
        own, minutes = {"Key": "doctor/one"}, {"ObjectLockRetainUntilDate": soon(0.01)}
        tries: list[tuple[str, dict[str, Any]]] = [
            ("PutObject", put(**minutes)),
            ("PutObjectRetention", retention("COMPLIANCE", 0.001)),
            ("DeleteObject", {"VersionId": "v"}),
        ]
        for operation, call in tries:
            assert archive.lets(role("operator"), operation, **call, **own)
            for who in (ADMINISTRATOR, role("archive-sink"), role("destroyer"), role("serve")):
                assert not archive.lets(who, operation, [EVERYTHING], **call, **own)
            for key in ("entries/chain=main/x", "doctor", "doctors/one"):
                assert not archive.lets(role("operator"), operation, [EVERYTHING], **call, Key=key)
        for days in (3, 36_000):
            long = put(ObjectLockRetainUntilDate=soon(days))
            assert not archive.lets(role("operator"), "PutObject", [EVERYTHING], **long, **own)
        assert not archive.lets(role("operator"), "PutObject", [EVERYTHING], **put(**minutes, IfNoneMatch=None), **own)
        assert not archive.lets(role("operator"), "DeleteObject", [EVERYTHING], **own)
        assert not archive.lets(role("operator"), "PutObjectLegalHold", VersionId="v", **own)
        lowered = retention("GOVERNANCE", 0.01) | {"BypassGovernanceRetention": True}
        assert not archive.lets(role("operator"), "PutObjectRetention", [EVERYTHING], **lowered, **own)

    def test_legal_holds_are_set_by_sink_and_operator(self, archive: Archive) -> None:
        for process in ("archive-sink", "operator"):
            assert archive.lets(role(process), "PutObjectLegalHold", VersionId="v")
        assert not archive.lets(role("serve"), "PutObjectLegalHold", VersionId="v")
        assert archive.lets(role("serve"), "GetObjectLegalHold", VersionId="v")

    def test_nobody_deletes_the_bucket(self, archive: Archive) -> None:
        asked = Request(ADMINISTRATOR, "s3:DeleteBucket", ARCHIVE)
        assert not allowed(asked, [EVERYTHING], archive.documents["archive_bucket_policy"])

    @pytest.mark.parametrize("process", ["archive-sink", "operator"])
    def test_locks_are_lengthened_by_the_two_who_do_it(self, archive: Archive, process: str) -> None:
        assert archive.lets(role(process), "PutObjectRetention", **retention("COMPLIANCE", 3000))

    @pytest.mark.parametrize(("mode", "days"), [("GOVERNANCE", 3000), ("COMPLIANCE", 10), ("COMPLIANCE", -1)])
    @pytest.mark.parametrize("who", [ADMINISTRATOR, role("archive-sink"), role("operator")])
    def test_no_lock_is_made_weaker_or_short(self, archive: Archive, who: str, mode: str, days: float) -> None:
        assert not archive.lets(who, "PutObjectRetention", [EVERYTHING], **retention(mode, days))

    def test_nobody_else_locks(self, archive: Archive) -> None:
        """A lock of a hundred years can't be taken back, and would be paid for."""
        assert not archive.lets(ADMINISTRATOR, "PutObjectRetention", [EVERYTHING], **retention("COMPLIANCE", 36_000))
        hold = Request(ADMINISTRATOR, "s3:PutObjectLegalHold", OBJECT)
        assert not allowed(hold, [EVERYTHING], archive.documents["archive_bucket_policy"])

    @pytest.mark.parametrize(
        "action",
        [
            "PutBucketPolicy",
            "DeleteBucketPolicy",
            "PutBucketObjectLockConfiguration",
            "PutBucketVersioning",
            "PutLifecycleConfiguration",
            "PutEncryptionConfiguration",
            "PutBucketPublicAccessBlock",
            "PutBucketOwnershipControls",
            "PutBucketLogging",
            "PutReplicationConfiguration",
        ],
    )
    def test_only_administrators_change_what_the_buckets_are(self, documents: dict[str, Any], action: str) -> None:
        for bucket, name in ((ARCHIVE, "archive"), (TRAIL, "trail"), (ACCESS_LOG, "access_log")):
            policy = documents[f"{name}_bucket_policy"]
            assert allowed(Request(ADMINISTRATOR, f"s3:{action}", bucket), [EVERYTHING], policy)
            for who in (role("operator"), role("archive-sink"), f"arn:aws:iam::{ACCOUNT}:role/infrastructure-2"):
                assert not allowed(Request(who, f"s3:{action}", bucket), [EVERYTHING], policy)

    @pytest.mark.parametrize("context", [{"aws:SecureTransport": "false"}, {"s3:TlsVersion": "1.1"}])
    def test_nothing_goes_without_tls(self, documents: dict[str, Any], context: dict[str, str]) -> None:
        for bucket, name in ((ARCHIVE, "archive"), (TRAIL, "trail"), (ACCESS_LOG, "access_log")):
            policy = documents[f"{name}_bucket_policy"]
            for resource in (bucket, f"{bucket}/entries/x"):
                assert allowed(Request(ADMINISTRATOR, "s3:GetObjectVersion", resource), [EVERYTHING], policy)
                asked = Request(ADMINISTRATOR, "s3:GetObjectVersion", resource, context)
                assert not allowed(asked, [EVERYTHING], policy)

    def test_the_policy_itself_lets_nobody_in(self, documents: dict[str, Any]) -> None:
        assert {each["Effect"] for each in statements([documents["archive_bucket_policy"]])} == {"Deny"}


class TestReaders:
    @pytest.mark.parametrize("process", ["serve", "verifier", "operator", "archive-sink"])
    def test_they_read_versions_and_locks(self, archive: Archive, process: str) -> None:
        who = role(process)
        assert archive.lets(who, "GetObject", VersionId="v")
        assert archive.lets(who, "GetObjectRetention", VersionId="v")
        assert archive.lets(who, "ListObjectVersions", Prefix="entries/chain=main/")
        assert archive.lets(who, "GetBucketVersioning")

    def test_the_watch_reads_manifests_alone(self, archive: Archive) -> None:
        who = role("watch")
        manifest = "manifests/chain=main/date=2026-11-24/0-1.json"
        assert archive.lets(who, "GetObject", VersionId="v", Key=manifest)
        assert archive.lets(who, "ListObjectVersions", Prefix="entries/chain=main/")
        assert not archive.lets(who, "GetObject", VersionId="v")
        assert not archive.lets(who, "GetObjectRetention", VersionId="v", Key=manifest)

    def test_the_lake_reads_entries_alone(self, archive: Archive) -> None:
        who = role("lake")
        assert archive.lets(who, "GetObject")
        assert archive.lets(who, "ListObjectsV2", Prefix="entries/chain=main/")
        assert not archive.lets(who, "ListObjectsV2", Prefix="manifests/")
        assert not archive.lets(who, "ListObjectsV2")
        assert not archive.lets(who, "GetObject", Key="manifests/chain=main/date=2026-11-24/0-1.json")

    @pytest.mark.parametrize("process", ["serve", "verifier", "watch", "lake", "import", *sorted(NOTHING_OF_AWS)])
    def test_none_of_them_writes_locks_or_changes(self, archive: Archive, process: str) -> None:
        who = role(process)
        assert not archive.lets(who, "PutObject", **put())
        assert not archive.lets(who, "PutObjectRetention", **retention("COMPLIANCE", 3000))
        assert not archive.lets(who, "PutObjectLockConfiguration", Key="")

    @pytest.mark.parametrize("process", ["import", *sorted(NOTHING_OF_AWS)])
    def test_who_has_no_business_there_sees_nothing(self, archive: Archive, process: str) -> None:
        who = role(process)
        assert not archive.lets(who, "GetObject", VersionId="v")
        assert not archive.lets(who, "GetObject")
        assert not archive.lets(who, "ListObjectVersions", Prefix="entries/")

    def test_a_wider_listing_than_the_archives_own_is_refused(self, archive: Archive) -> None:
        assert not archive.lets(role("serve"), "ListObjectVersions", Prefix="")
        assert not archive.lets(role("serve"), "ListObjectVersions")


class TestTheTrail:
    def test_cloudtrail_writes_its_files_and_nobody_else_does(self, documents: dict[str, Any]) -> None:
        policy = documents["trail_bucket_policy"]
        file = f"{TRAIL}/AWSLogs/{ACCOUNT}/CloudTrail/eu-central-1/2026/11/24/file.json.gz"
        own = {"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceArn": TRAIL_ARN}
        assert allowed(Request("cloudtrail.amazonaws.com", "s3:PutObject", file, own), resource=policy)
        assert allowed(Request("cloudtrail.amazonaws.com", "s3:GetBucketAcl", TRAIL, own), resource=policy)
        other = {**own, "aws:SourceArn": f"arn:aws:cloudtrail:{REGION}:444455556666:trail/theirs"}
        assert not allowed(Request("cloudtrail.amazonaws.com", "s3:PutObject", file, other), resource=policy)
        assert not allowed(Request("cloudtrail.amazonaws.com", "s3:GetBucketAcl", TRAIL, other), resource=policy)
        elsewhere = f"{TRAIL}/AWSLogs/444455556666/CloudTrail/file.json.gz"
        assert not allowed(Request("cloudtrail.amazonaws.com", "s3:PutObject", elsewhere, own), resource=policy)
        for who in (ADMINISTRATOR, role("operator"), role("import")):
            assert not allowed(Request(who, "s3:PutObject", file, own), [EVERYTHING], policy)

    @pytest.mark.parametrize("who", [ADMINISTRATOR, role("import"), "cloudtrail.amazonaws.com"])
    def test_nobody_deletes_from_it(self, documents: dict[str, Any], who: str) -> None:
        for bucket, name in ((TRAIL, "trail"), (ACCESS_LOG, "access_log")):
            for action in ("s3:DeleteObject", "s3:DeleteObjectVersion"):
                asked = Request(who, action, f"{bucket}/AWSLogs/x")
                assert not allowed(asked, [EVERYTHING], documents[f"{name}_bucket_policy"])

    def test_the_importer_reads_it_and_no_more(self, documents: dict[str, Any]) -> None:
        who, identity = role("import"), [documents["process_policies"]["import"]]
        bucket, key = documents["trail_bucket_policy"], documents["trail_key_policy"]
        call = {"Bucket": VALUES["trail_bucket"], "Key": f"AWSLogs/{ACCOUNT}/CloudTrail/file.json.gz"}
        asked = requests_of(who, "GetObject", call)
        asked += requests_of(who, "ListObjectsV2", {"Bucket": call["Bucket"], "Prefix": f"AWSLogs/{ACCOUNT}/"})
        asked += requests_of(who, "ListPublicKeys", {})
        for each in asked:
            assert allowed(each, identity, key if each.action.startswith("kms:") else bucket), each
        for action in ("s3:PutObject", "s3:DeleteObjectVersion", "s3:PutObjectRetention"):
            assert not allowed(Request(who, action, f"{TRAIL}/{call['Key']}"), identity, bucket)

    def test_access_logs_come_from_these_two_buckets_alone(self, documents: dict[str, Any]) -> None:
        policy, who = documents["access_log_bucket_policy"], "logging.s3.amazonaws.com"
        own = {"aws:SourceArn": ARCHIVE, "aws:SourceAccount": ACCOUNT}
        assert allowed(Request(who, "s3:PutObject", f"{ACCESS_LOG}/archive/x", own), resource=policy)
        other = {**own, "aws:SourceArn": "arn:aws:s3:::theirs"}
        assert not allowed(Request(who, "s3:PutObject", f"{ACCESS_LOG}/archive/x", other), resource=policy)
        assert not allowed(Request(who, "s3:PutObject", f"{ACCESS_LOG}/x", own), resource=policy)
        assert not allowed(Request(ADMINISTRATOR, "s3:PutObject", f"{ACCESS_LOG}/archive/x"), [EVERYTHING], policy)


class TestTheKeys:
    @pytest.mark.parametrize("who", [ADMINISTRATOR, role("archive-sink"), f"arn:aws:iam::{ACCOUNT}:root"])
    @pytest.mark.parametrize("action", KEYS_ACTIONS)
    def test_nobody_destroys_them(self, documents: dict[str, Any], who: str, action: str) -> None:
        for key, name in ((ARCHIVE_KEY, "archive"), (TRAIL_KEY, "trail")):
            assert not allowed(Request(who, action, key), [EVERYTHING], documents[f"{name}_key_policy"])

    def test_only_administrators_change_their_policies(self, documents: dict[str, Any]) -> None:
        for key, name in ((ARCHIVE_KEY, "archive"), (TRAIL_KEY, "trail")):
            policy = documents[f"{name}_key_policy"]
            assert allowed(Request(ADMINISTRATOR, "kms:PutKeyPolicy", key), [EVERYTHING], policy)
            assert not allowed(Request(role("operator"), "kms:PutKeyPolicy", key), [EVERYTHING], policy)

    @pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:CreateGrant"])
    def test_the_archives_key_is_used_through_s3_alone(self, documents: dict[str, Any], action: str) -> None:
        policy = documents["archive_key_policy"]
        assert not allowed(Request(ADMINISTRATOR, action, ARCHIVE_KEY), [EVERYTHING], policy)
        assert not allowed(Request(role("archive-sink"), action, ARCHIVE_KEY), [EVERYTHING], policy)

    def test_a_role_decrypts_what_this_bucket_holds_and_nothing_else(self, documents: dict[str, Any]) -> None:
        identity, policy = [documents["process_policies"]["serve"]], documents["archive_key_policy"]
        context = {"kms:ViaService": f"s3.{REGION}.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": ARCHIVE}
        assert allowed(Request(role("serve"), "kms:Decrypt", ARCHIVE_KEY, context), identity, policy)
        context["kms:EncryptionContext:aws:s3:arn"] = "arn:aws:s3:::another"
        assert not allowed(Request(role("serve"), "kms:Decrypt", ARCHIVE_KEY, context), identity, policy)

    def test_cloudtrail_encrypts_for_this_trail(self, documents: dict[str, Any]) -> None:
        policy = documents["trail_key_policy"]
        context = {"aws:SourceArn": TRAIL_ARN, "kms:EncryptionContext:aws:cloudtrail:arn": TRAIL_ARN}
        asked = Request("cloudtrail.amazonaws.com", "kms:GenerateDataKey", TRAIL_KEY, context)
        assert allowed(asked, resource=policy)
        assert allowed(Request("cloudtrail.amazonaws.com", "kms:DescribeKey", TRAIL_KEY, context), resource=policy)
        theirs = {**context, "aws:SourceArn": f"arn:aws:cloudtrail:{REGION}:444455556666:trail/theirs"}
        looks = Request("cloudtrail.amazonaws.com", "kms:DescribeKey", TRAIL_KEY, theirs)
        assert not allowed(looks, resource=policy)
        assert not allowed(
            Request("cloudtrail.amazonaws.com", "kms:GenerateDataKey", TRAIL_KEY, theirs), resource=policy
        )
        assert not allowed(Request("cloudtrail.amazonaws.com", "kms:Decrypt", TRAIL_KEY, context), resource=policy)


class TestWhoIsWho:
    """Trust policies: the resource is the role."""

    def test_a_pod_is_its_own_process_and_no_other(self, documents: dict[str, Any]) -> None:
        for process, policy in documents["trust_policies"].items():
            context = {
                "aws:SourceAccount": ACCOUNT,
                "aws:SourceArn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/production",
                "aws:RequestTag/kubernetes-namespace": "sealstream",
                "aws:RequestTag/kubernetes-service-account": f"sealstream-{process}",
            }
            asked = Request("pods.eks.amazonaws.com", "sts:AssumeRole", role(process), context)
            assert allowed(asked, resource=policy)
            for key, other in (
                ("aws:RequestTag/kubernetes-service-account", "sealstream-checkpointing-2"),
                ("aws:RequestTag/kubernetes-namespace", "default"),
                ("aws:SourceArn", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/testing"),
                ("aws:SourceAccount", "444455556666"),
            ):
                changed = Request(asked.principal, asked.action, asked.resource, {**context, key: other})
                assert not allowed(changed, resource=policy)

    def test_a_service_account_is_known_by_its_token(self, make_documents: Callable[..., dict[str, Any]]) -> None:
        issuer = f"oidc.eks.{REGION}.amazonaws.com/id/ABC"
        provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"
        kubernetes = {"oidc_provider_arn": provider, "oidc_issuer": issuer, "namespace": "audit"}
        policy = make_documents(run_on="oidc", kubernetes=kubernetes)["trust_policies"]["archive-sink"]
        context = {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": "system:serviceaccount:audit:sealstream-archive-sink",
        }
        action, resource = "sts:AssumeRoleWithWebIdentity", role("archive-sink")
        assert allowed(Request(provider, action, resource, context), resource=policy)
        other = {**context, f"{issuer}:sub": "system:serviceaccount:audit:sealstream-serve"}
        assert not allowed(Request(provider, action, resource, other), resource=policy)
        assert not allowed(
            Request(provider, action, resource, {f"{issuer}:sub": context[f"{issuer}:sub"]}), resource=policy
        )

    def test_a_task_of_this_account(self, make_documents: Callable[..., dict[str, Any]]) -> None:
        made = make_documents(run_on="ecs")
        context = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/audit/1"}
        for policy in (made["trust_policies"]["serve"], made["execution_trust_policy"]):
            asked = Request("ecs-tasks.amazonaws.com", "sts:AssumeRole", role("serve"), context)
            assert allowed(asked, resource=policy)
            other = {**context, "aws:SourceArn": f"arn:aws:ecs:{REGION}:444455556666:task/x/1"}
            assert not allowed(Request(asked.principal, asked.action, asked.resource, other), resource=policy)

    def test_people_are_those_who_are_named(self, make_documents: Callable[..., dict[str, Any]]) -> None:
        auditors, eve = (f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("auditors", "eve"))
        policy = make_documents(people={"verifier": [auditors]})["trust_policies"]["verifier"]
        assert allowed(Request(auditors, "sts:AssumeRole", role("verifier")), resource=policy)
        assert not allowed(Request(eve, "sts:AssumeRole", role("verifier")), resource=policy)
        assert not allowed(Request("pods.eks.amazonaws.com", "sts:AssumeRole", role("verifier")), resource=policy)


def test_a_process_gets_its_own_secrets_and_no_others(documents: dict[str, Any]) -> None:
    own, key = (VALUES["secrets"]["sequencer"][name][0] for name in ("arns", "kms_key_arns"))
    signing_key = VALUES["secrets"]["checkpointing"]["arns"][0]
    policy = [documents["secrets_policies"]["sequencer"]]
    assert allowed(Request(role("sequencer"), "secretsmanager:GetSecretValue", own), policy)
    assert not allowed(Request(role("sequencer"), "secretsmanager:GetSecretValue", signing_key), policy)
    assert not allowed(Request(role("sequencer"), "secretsmanager:PutSecretValue", own), policy)
    through = {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com"}
    assert allowed(Request(role("sequencer"), "kms:Decrypt", key, through), policy, _delegating())
    assert not allowed(Request(role("sequencer"), "kms:Decrypt", key), policy, _delegating())


def _delegating() -> dict[str, Any]:
    root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    allow = {"Sid": "iam", "Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [allow]}
