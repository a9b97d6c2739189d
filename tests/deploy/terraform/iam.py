"""Whether AWS would allow a request, by its rules for one account: a deny anywhere wins, then an allow, else no.

Only what the policies of deploy/terraform use is known; anything else in a policy is an error here, so that no
statement is passed over. What a bucket or a key lets the account's root do is delegation: IAM's policies then decide
(for KMS without it they count for nothing). Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Request", "allowed", "denied_by", "statements"]

_KNOWN = {"Sid", "Effect", "Principal", "Action", "Resource", "NotResource", "Condition"}


@dataclass(frozen=True)
class Request:
    """One request. `principal`: the ARN of a role or a user, or a service such as `cloudtrail.amazonaws.com`."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)

    def keys(self) -> dict[str, str]:
        """The context's keys in lower case, with what AWS adds to each request."""
        service = not self.principal.startswith("arn:")
        own = {"aws:principalservicename" if service else "aws:principalarn": self.principal}
        usual = {"aws:securetransport": "true", "s3:tlsversion": "1.3"}
        return usual | own | {key.lower(): value for key, value in self.context.items()}


def allowed(request: Request, identity: Iterable[Any] = (), resource: Any = None) -> bool:
    """By the policies of who asks, and by that of what is asked for (a bucket's, a key's, a role's trust)."""
    keys = request.keys()
    if denied_by(request, [*identity, *([] if resource is None else [resource])]):
        return False
    by_identity = any(_matches(each, request, keys) for each in statements(identity) if each["Effect"] == "Allow")
    own = [each for each in statements([resource]) if each["Effect"] == "Allow"] if resource is not None else []
    by_resource = any(_matches(each, request, keys) for each in own if not _delegates(each))
    delegated = any(_matches(each, request, keys) for each in own if _delegates(each))
    if request.action.startswith("kms:"):
        return by_resource or (by_identity and delegated)
    return by_resource or by_identity


def denied_by(request: Request, policies: Iterable[Any]) -> list[str]:
    """The Sids of all statements that deny it."""
    keys = request.keys()
    return [each["Sid"] for each in statements(policies) if each["Effect"] == "Deny" and _matches(each, request, keys)]


def statements(policies: Iterable[Any]) -> list[dict[str, Any]]:
    """All statements of these policies (documents, or their JSON). Raises `AssertionError` for what is not known."""
    found = []
    for policy in policies:
        document = json.loads(policy) if isinstance(policy, str) else policy
        assert document["Version"] == "2012-10-17"
        for each in document["Statement"]:
            assert set(each) <= _KNOWN, f"not known: {set(each) - _KNOWN}"
            assert each["Effect"] in ("Allow", "Deny")
            assert not {"Resource", "NotResource"} <= set(each)
            found.append(each)
    return found


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _delegates(statement: dict[str, Any]) -> bool:
    principal = statement["Principal"]
    return isinstance(principal, dict) and any(each.endswith(":root") for each in _list(principal.get("AWS", [])))


def _matches(statement: dict[str, Any], request: Request, keys: Mapping[str, str]) -> bool:
    return (
        _is_principal(statement.get("Principal", "*"), request.principal)
        and any(_like(each.lower(), request.action.lower()) for each in _list(statement["Action"]))
        and any(_like(each, request.resource) for each in _list(statement.get("Resource", "*")))
        and not any(_like(each, request.resource) for each in _list(statement.get("NotResource", [])))
        and all(
            _holds(operator, key, _list(wanted), keys)
            for operator, wants in statement.get("Condition", {}).items()
            for key, wanted in wants.items()
        )
    )


def _is_principal(principal: Any, asked: str) -> bool:
    if principal == "*":
        return True
    (kind,) = principal
    named = _list(principal[kind])
    assert kind in ("AWS", "Service", "Federated"), f"not known: {kind}"
    if kind == "AWS" and asked.startswith("arn:"):
        account = asked.split(":")[4]
        return asked in named or any(each.endswith(f"::{account}:root") for each in named)
    return asked in named


def _like(pattern: str, text: str) -> bool:
    """`*` stands for any text, `?` for one character."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def _arn_like(pattern: str, arn: str) -> bool:
    """Part by part: `*` does not go beyond a colon, but in the last part."""
    patterns, parts = pattern.split(":", 5), arn.split(":", 5)
    return len(patterns) == len(parts) and all(map(_like, patterns, parts))


def _number_less(wanted: str, got: str) -> bool:
    return float(got) < float(wanted)


def _number_greater(wanted: str, got: str) -> bool:
    return float(got) > float(wanted)


_POSITIVE: dict[str, Callable[[str, str], bool]] = {
    "Bool": lambda wanted, got: wanted.lower() == got.lower(),
    "StringEquals": lambda wanted, got: wanted == got,
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "NumericGreaterThan": _number_greater,
    "NumericLessThan": _number_less,
}
_NEGATED = {"StringNotEquals": "StringEquals", "ArnNotEquals": "ArnLike", "ArnNotLike": "ArnLike"}


def _holds(operator: str, key: str, wanted: list[str], keys: Mapping[str, str]) -> bool:
    """A key that the request lacks: no positive condition on it holds, every negated one does."""
    got = keys.get(key.lower())
    if operator == "Null":
        return (got is None) == (wanted == ["true"])
    if operator in _NEGATED:
        return got is None or not any(_POSITIVE[_NEGATED[operator]](each, got) for each in wanted)
    assert operator in _POSITIVE, f"not known: {operator}"
    return got is not None and any(_POSITIVE[operator](each, got) for each in wanted)
