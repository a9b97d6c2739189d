"""A page's sample answer in JSON, held against what was really answered: the same members, of the same kind.

What a sample spells out must be so, word for word; a text with `...` in it stands for any text, and the member `...`
for members that are not shown. Of a list, each real item must be like one of the sample's; an empty one shows its kind
alone. Pure.
"""

from __future__ import annotations

from typing import Any

__all__ = ["differences"]

_ANY = "..."


def differences(sample: Any, real: Any, at: str = "the answer") -> list[str]:
    """What is not as the sample says, each with its place."""
    if isinstance(sample, str) and _ANY in sample:
        return [] if isinstance(real, str) and real else [f"{at} is {real!r}: expected a text"]
    if type(sample) is not type(real):
        return [f"{at} is {real!r}: expected something like {sample!r}"]
    if isinstance(sample, dict):
        shown = sample.keys() - {_ANY}
        found = [f"{at} has no {name}" for name in sorted(shown - real.keys())]
        if _ANY not in sample:
            found += [f"{at} has {name}, which the sample does not show" for name in sorted(real.keys() - shown)]
        for name in sorted(shown & real.keys()):
            found += differences(sample[name], real[name], f"{at}.{name}")
        return found
    if isinstance(sample, list):
        return _of_list(sample, real, at)
    return [] if sample == real else [f"{at} is {real!r}: expected {sample!r}"]


def _of_list(sample: list[Any], real: list[Any], at: str) -> list[str]:
    if not sample:
        return []
    if not real:
        return [f"{at} is empty: expected items"]
    found = []
    for n, item in enumerate(real):
        wrong = [differences(like, item, f"{at}[{n}]") for like in sample]
        found += min(wrong, key=len)
    return found
