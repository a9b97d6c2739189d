"""Which permissions each call of AWS needs that our code makes, and where in the code they are.

The mapping is that of AWS's "Actions, resources and condition keys" of S3, and of each operation's own page. A call
that is not in it fails the test that reads the code, so that a new call can't go without its permission.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore import xform_name
from tests.deploy.terraform.iam import Request
from tests.deploy.terraform.module import ARCHIVE_KEY, REGION, TRAIL_KEY, VALUES

__all__ = ["MAKES_BUCKETS", "PERMISSIONS", "operations_in_code", "requests_of", "services_in_code"]

ROOT = Path(__file__).parents[3]
ROOTS = ("schemas", "producers", "processors", "sinks", "verifiers", "console")

# Terraform makes the bucket, so no role may.
MAKES_BUCKETS = {"create_bucket", "put_object_lock_configuration"}

Parameters = Mapping[str, Any]


def _arn(call: Parameters, key: bool = True) -> str:
    return f"arn:aws:s3:::{call['Bucket']}" + (f"/{call['Key']}" if key else "")


def _kms(principal: str, call: Parameters, action: str) -> Request:
    """What S3 asks of KMS in the caller's name. With a bucket key the context is the bucket's ARN."""
    trail = call["Bucket"] == VALUES["trail_bucket"]
    context = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    context["kms:EncryptionContext:aws:s3:arn"] = _arn(call, key=trail)
    return Request(principal, action, TRAIL_KEY if trail else ARCHIVE_KEY, context)


def _lock(mode: str, until: datetime) -> dict[str, str]:
    days = (until - datetime.now(UTC)).total_seconds() // 86_400
    return {"s3:object-lock-mode": mode, "s3:object-lock-remaining-retention-days": f"{days:.0f}"}


def _put_object(principal: str, call: Parameters) -> Iterator[Request]:
    context = {} if "IfNoneMatch" not in call else {"s3:if-none-match": call["IfNoneMatch"]}
    if "ObjectLockMode" in call:
        context |= _lock(call["ObjectLockMode"], call["ObjectLockRetainUntilDate"])
        yield Request(principal, "s3:PutObjectRetention", _arn(call), context)
    if "ServerSideEncryption" in call:
        context["s3:x-amz-server-side-encryption"] = call["ServerSideEncryption"]
    if "SSEKMSKeyId" in call:
        context["s3:x-amz-server-side-encryption-aws-kms-key-id"] = call["SSEKMSKeyId"]
    if "SSECustomerAlgorithm" in call:
        context["s3:x-amz-server-side-encryption-customer-algorithm"] = call["SSECustomerAlgorithm"]
    yield Request(principal, "s3:PutObject", _arn(call), context)
    yield _kms(principal, call, "kms:GenerateDataKey")


def _get_object(principal: str, call: Parameters) -> Iterator[Request]:
    yield Request(principal, "s3:GetObjectVersion" if call.get("VersionId") else "s3:GetObject", _arn(call))
    yield _kms(principal, call, "kms:Decrypt")


def _delete_object(principal: str, call: Parameters) -> Iterator[Request]:
    yield Request(principal, "s3:DeleteObjectVersion" if call.get("VersionId") else "s3:DeleteObject", _arn(call))
    if call.get("BypassGovernanceRetention"):
        yield Request(principal, "s3:BypassGovernanceRetention", _arn(call))


def _put_retention(principal: str, call: Parameters) -> Iterator[Request]:
    wanted = call["Retention"]
    context = _lock(wanted["Mode"], wanted["RetainUntilDate"])
    yield Request(principal, "s3:PutObjectRetention", _arn(call), context)
    if call.get("BypassGovernanceRetention"):
        yield Request(principal, "s3:BypassGovernanceRetention", _arn(call), context)


def _of_bucket(action: str) -> Callable[[str, Parameters], Iterator[Request]]:
    def needs(principal: str, call: Parameters) -> Iterator[Request]:
        context = {"s3:prefix": call["Prefix"]} if "Prefix" in call else {}
        yield Request(principal, action, _arn(call, key=False), context)

    return needs


def _of_object(action: str) -> Callable[[str, Parameters], Iterator[Request]]:
    def needs(principal: str, call: Parameters) -> Iterator[Request]:
        yield Request(principal, action, _arn(call))

    return needs


def _of_cloudtrail(action: str) -> Callable[[str, Parameters], Iterator[Request]]:
    def needs(principal: str, _call: Parameters) -> Iterator[Request]:
        yield Request(principal, f"cloudtrail:{action}", "*")

    return needs


PERMISSIONS: dict[str, Callable[[str, Parameters], Iterator[Request]]] = {
    "create_bucket": _of_bucket("s3:CreateBucket"),
    "get_bucket_versioning": _of_bucket("s3:GetBucketVersioning"),
    "delete_object": _delete_object,
    "describe_trails": _of_cloudtrail("DescribeTrails"),
    "get_bucket_logging": _of_bucket("s3:GetBucketLogging"),
    "get_event_selectors": _of_cloudtrail("GetEventSelectors"),
    "get_trail_status": _of_cloudtrail("GetTrailStatus"),
    "get_object": _get_object,
    "get_object_legal_hold": _of_object("s3:GetObjectLegalHold"),
    "get_object_lock_configuration": _of_bucket("s3:GetBucketObjectLockConfiguration"),
    "get_object_retention": _of_object("s3:GetObjectRetention"),
    "head_bucket": _of_bucket("s3:ListBucket"),
    "list_object_versions": _of_bucket("s3:ListBucketVersions"),
    "list_objects_v2": _of_bucket("s3:ListBucket"),
    "list_public_keys": _of_cloudtrail("ListPublicKeys"),
    "put_object": _put_object,
    "put_object_legal_hold": _of_object("s3:PutObjectLegalHold"),
    "put_object_lock_configuration": _of_bucket("s3:PutBucketObjectLockConfiguration"),
    "put_object_retention": _put_retention,
}
"""By method of boto3's clients."""


def requests_of(principal: str, operation: str, call: Parameters) -> list[Request]:
    """What AWS asks its policies when this principal makes this call. `operation`: as the API names it."""
    return list(PERMISSIONS[xform_name(operation)](principal, call))


def services_in_code() -> set[str]:
    """The services that clients are made for."""
    return {
        each.args[0].value
        for _, tree in _files()
        for each in ast.walk(tree)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr in ("client", "resource")
        and each.args
        and isinstance(each.args[0], ast.Constant)
        and isinstance(each.args[0].value, str)
    }


def operations_in_code() -> dict[str, set[str]]:
    """By method of S3's and CloudTrail's clients: the files that call it, or hand its name to a paginator or waiter."""
    session = botocore.session.get_session()
    methods = {
        xform_name(name)
        for service in ("s3", "cloudtrail")
        for name in session.get_service_model(service).operation_names
    }
    # Conveniences of boto3's own, each several operations; none is used, and one that is shall be seen.
    methods |= {"upload_file", "upload_fileobj", "download_file", "download_fileobj", "copy", "generate_presigned_url"}
    found: dict[str, set[str]] = {}
    for path, tree in _files():
        for each in ast.walk(tree):
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
                names = [each.func.attr]
                if names == ["get_paginator"] or names == ["get_waiter"]:
                    names = [arg.value for arg in each.args if isinstance(arg, ast.Constant)]
                for name in names:
                    if name in methods:
                        found.setdefault(str(name), set()).add(str(path.relative_to(ROOT)))
    return found


@cache
def _files() -> list[tuple[Path, ast.Module]]:
    """The files that can hold a call: those that name boto, or a thing called client."""
    found = []
    for root in ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            text = path.read_text()
            if "boto" in text or ".client." in text:
                found.append((path, ast.parse(text)))
    return found
