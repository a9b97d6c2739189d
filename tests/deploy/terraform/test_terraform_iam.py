"""The judge of our policies, judged by cases that AWS's own documentation decides."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deploy.terraform.iam import Request, allowed, denied_by

ROLE = "arn:aws:iam::111122223333:role/sink"
KEY = "arn:aws:s3:::b/k"


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Sid": f"s{n}", **each} for n, each in enumerate(statements)]}


PUT = policy({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*"})


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert not allowed(Request(ROLE, "s3:PutObject", KEY))
    assert not allowed(Request(ROLE, "s3:GetObject", KEY), [PUT])
    assert not allowed(Request(ROLE, "s3:PutObject", "arn:aws:s3:::c/k"), [PUT])
    assert allowed(Request(ROLE, "s3:putobject", KEY), [PUT])


def test_a_deny_wins_wherever_it_stands() -> None:
    deny = policy({"Effect": "Deny", "Principal": "*", "Action": "s3:Put*", "Resource": "*"})
    asked = Request(ROLE, "s3:PutObject", KEY)
    assert not allowed(asked, [PUT], deny)
    assert not allowed(asked, [PUT, deny])
    assert denied_by(asked, [PUT, deny]) == ["s0"]


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"Bool": {"aws:SecureTransport": "false"}}, {}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws:SecureTransport": "false"}, True),
        ({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": "1.1"}, True),
        ({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": "1.2"}, False),
        ({"NumericGreaterThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": "1.2"}, False),
        ({"NumericGreaterThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": "1.3"}, True),
        # A positive condition on a key that is not there does not hold; a negated one does.
        ({"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}}, {}, False),
        ({"StringNotEquals": {"s3:object-lock-mode": "COMPLIANCE"}}, {}, True),
        ({"StringNotEquals": {"s3:object-lock-mode": "COMPLIANCE"}}, {"s3:object-lock-mode": "COMPLIANCE"}, False),
        ({"NumericLessThan": {"s3:object-lock-remaining-retention-days": "9"}}, {}, False),
        ({"Null": {"s3:if-none-match": "true"}}, {}, True),
        ({"Null": {"s3:if-none-match": "true"}}, {"s3:if-none-match": "*"}, False),
        ({"Null": {"s3:if-none-match": "false"}}, {"s3:if-none-match": "*"}, True),
        # All conditions must hold, of one condition any value.
        ({"Null": {"k": "false"}, "StringNotEquals": {"k": "a"}}, {}, False),
        ({"Null": {"k": "false"}, "StringNotEquals": {"k": "a"}}, {"k": "b"}, True),
        ({"StringLike": {"s3:prefix": ["entries/*", "manifests/*"]}}, {"s3:prefix": "manifests/chain=main/"}, True),
        ({"StringLike": {"s3:prefix": ["entries/*", "manifests/*"]}}, {"s3:prefix": "other/"}, False),
        ({"ArnNotEquals": {"aws:PrincipalArn": [ROLE]}}, {}, False),
        ({"ArnNotLike": {"aws:PrincipalArn": ["arn:aws:iam::111122223333:role/s*"]}}, {}, False),
        # A star does not go beyond a colon.
        ({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:*:role/*"}}, {"aws:SourceArn": "arn:aws:ecs:x:1:task/t"}, False),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:ecs:x:1:*"}}, {"aws:SourceArn": "arn:aws:ecs:x:1:task/t"}, True),
    ],
)
def test_conditions(condition: dict[str, Any], context: dict[str, str], holds: bool) -> None:
    rule = policy({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition})
    assert allowed(Request(ROLE, "s3:PutObject", KEY, context), [rule]) is holds


def test_a_statement_on_all_but_some_resources() -> None:
    rule = policy({"Effect": "Allow", "Action": "*", "NotResource": f"{KEY}/*"})
    assert allowed(Request(ROLE, "s3:PutObject", KEY), [rule])
    assert not allowed(Request(ROLE, "s3:PutObject", f"{KEY}/below"), [rule])


def test_a_key_that_delegates_to_the_account_leaves_it_to_iam() -> None:
    root = {"AWS": "arn:aws:iam::111122223333:root"}
    key = policy({"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"})
    mine = policy({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"})
    asked = Request(ROLE, "kms:Decrypt", "arn:aws:kms:r:111122223333:key/1")
    assert allowed(asked, [mine], key)
    assert not allowed(asked, [], key)
    assert not allowed(asked, [mine], policy())
    assert not allowed(asked, [mine])


def test_a_service_is_let_in_by_the_resource_alone() -> None:
    bucket = policy({"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}, "Action": "s3:PutObject"})
    assert allowed(Request("cloudtrail.amazonaws.com", "s3:PutObject", KEY), resource=bucket)
    assert not allowed(Request("config.amazonaws.com", "s3:PutObject", KEY), resource=bucket)
    assert not allowed(Request(ROLE, "s3:PutObject", KEY), resource=bucket)


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Deny", "NotAction": "s3:GetObject", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
    ],
)
def test_what_it_does_not_know_is_no_silent_yes(statement: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="not known"):
        allowed(Request(ROLE, "s3:PutObject", KEY), [PUT, policy(statement)])
