"""A Sigma condition as a function of what is known of one cell of activity. Pure.

Text is compared as Sigma says: without regard to case unless `cased`, `*` and `?` as wildcards. Patterns run on RE2,
whose time is linear in the text: what actors are called is chosen by strangers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from typing import Any, cast

import re2
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.policy import SigmaPolicy
from sigma.policy.regex_engine import RE2RegexEngine, RegexPattern
from sigma.rule import SigmaRule
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaExists,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaType,
    SpecialChars,
)

from sealstream.anomaly.sigma.faults import CantRun

__all__ = ["ACTOR_FIELDS", "ADDRESS_FIELDS", "POLICY", "Facts", "Matches", "compiled", "fields_of"]

Facts = Mapping[str, str | None]
"""By field, what every entry of a cell has in common; None: nothing is stated."""
Matches = Callable[[Facts], bool]

ACTOR_FIELDS = (
    "action",
    "actor_id",
    "actor_type",
    "chain",
    "ip_address",
    "resource_type",
    "result",
    "tenant",
)
ADDRESS_FIELDS = ("action", "actor_id", "chain", "ip_address", "result")


def compiled(rule: SigmaRule) -> Matches:
    """Whether a rule's conditions (any of them) hold. Raises `CantRun` or a `SigmaError`."""
    _check_source(rule)
    each = [_matcher(condition.parsed) for condition in rule.detection.parsed_condition]
    return each[0] if len(each) == 1 else lambda facts: any(holds(facts) for holds in each)


def fields_of(rule: SigmaRule) -> set[str]:
    """The fields that a rule's conditions look at."""
    found: set[str] = set()

    def look(condition: object) -> None:
        if isinstance(condition, ConditionFieldEqualsValueExpression):
            found.add(condition.field)
        for argument in getattr(condition, "args", ()):
            look(argument)

    for each in rule.detection.parsed_condition:
        look(each.parsed)
    return found


def _check_source(rule: SigmaRule) -> None:
    product = rule.logsource.product
    if product != "sealstream":
        raise CantRun(
            f"logsource.product is {product or 'not set'}: expected sealstream. Rules for other products name other "
            "fields; copy the rule and name ours",
            "logsource",
        )


def _matcher(condition: object) -> Matches:
    match condition:
        case ConditionAND(args=arguments):
            each = [_matcher(argument) for argument in arguments]
            return lambda facts: all(holds(facts) for holds in each)
        case ConditionOR(args=arguments):
            each = [_matcher(argument) for argument in arguments]
            return lambda facts: any(holds(facts) for holds in each)
        case ConditionNOT(args=[argument]):
            holds = _matcher(argument)
            return lambda facts: not holds(facts)
        case ConditionFieldEqualsValueExpression(field=field, value=value):
            return _comparison(field, value)
        case ConditionValueExpression():
            raise CantRun("keywords without a field: expected field: value", "detection")
        case _:
            raise CantRun("the condition selects nothing", "detection", "condition")


def _comparison(field: str, value: SigmaType) -> Matches:
    if field not in ACTOR_FIELDS:
        raise CantRun(
            f"{field} is no field of activity, which rules run on: expected {', '.join(ACTOR_FIELDS)} "
            "(resource_id only as a value_count's field)",
            "detection",
            field,
        )
    if isinstance(value, SigmaExists):
        wanted = bool(value)
        return lambda facts: (facts.get(field) is not None) == wanted
    if isinstance(value, SigmaNull):
        return lambda facts: facts.get(field) is None
    if isinstance(value, SigmaCIDRExpression):
        network = value.network
        return lambda facts: (text := facts.get(field)) is not None and _address(text) in network
    if isinstance(value, SigmaNumber | SigmaBool):
        plain = str(value).lower()
        return lambda facts: facts.get(field) == plain
    if isinstance(value, SigmaString):
        return _text(field, value)
    if isinstance(value, SigmaRegularExpression):
        flags = "".join(_FLAGS[flag] for flag in value.flags)
        return _pattern(field, f"(?{flags}){value.regexp}" if flags else str(value.regexp), whole=False)
    raise CantRun(f"{field}: {type(value).__name__} can't be compared with a text", "detection", field)


_FLAGS = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}


def _address(text: str) -> object:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _text(field: str, value: SigmaString) -> Matches:
    cased = isinstance(value, SigmaCasedString)
    if all(isinstance(part, str) for part in value.s):
        plain = "".join(str(part) for part in value.s)
        if cased:
            return lambda facts: facts.get(field) == plain
        folded = plain.casefold()
        return lambda facts: (text := facts.get(field)) is not None and text.casefold() == folded
    parts = []
    for part in value.s:
        if part is SpecialChars.WILDCARD_MULTI:
            parts.append(".*")
        elif part is SpecialChars.WILDCARD_SINGLE:
            parts.append(".")
        elif isinstance(part, str):
            parts.append(re2.escape(part))
        else:
            raise CantRun(f"{field}: the placeholder {part} has no value here", "detection", field)
    return _pattern(field, ("(?s)" if cased else "(?is)") + "".join(parts), whole=True)


class _Quiet(RE2RegexEngine):
    """RE2 that only raises: by itself it writes what is wrong to standard error, too."""

    def compile(self, pattern: str, flags: int = 0) -> RegexPattern:
        inline = "".join(letter for flag, letter in _INLINE.items() if flags & flag)
        return cast(RegexPattern, _compiled(f"(?{inline}){pattern}" if inline else pattern))


_INLINE = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}

POLICY = SigmaPolicy(regex_engine=_Quiet())
"""How pySigma tries the patterns of a rule."""


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0]
        raise re2.error(said.decode(errors="replace") if isinstance(said, bytes) else said) from error


def _pattern(field: str, pattern: str, *, whole: bool) -> Matches:
    try:
        found = _compiled(pattern)
    except re2.error as error:
        raise CantRun(f"{field}: {pattern} is no pattern of RE2: {error}", "detection", field) from error
    match: Callable[[str], object] = found.fullmatch if whole else found.search
    return lambda facts: (text := facts.get(field)) is not None and match(text) is not None


def unknown_to(fields: Collection[str], known: Collection[str]) -> list[str]:
    """The fields that are not among those known, sorted."""
    return sorted(set(fields) - set(known))
