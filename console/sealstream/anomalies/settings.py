"""The detectors' thresholds as sections of the settings, made from the detectors themselves. Pure.

A new detector, or a new threshold, has its place in the file, its variable and its line in the reference without
another word here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from pydantic import BaseModel, ConfigDict, Field, create_model

from sealstream.anomaly.detectors import DETECTORS
from sealstream.anomaly.settings import bounds_of

__all__ = ["CLOCKS", "DetectorsSection", "check_zone", "given_thresholds"]

CLOCKS: Mapping[str, tuple[str, ...]] = {"unusual_hour": ("zone", "zones")}
"""Thresholds that are no settings of their own: `anomaly.time_zone` and `anomaly.time_zones` say them."""

_SAYS = "Thresholds, a section for each detector; docs/detection.md says what was measured with the defaults."
_FORBID = ConfigDict(extra="forbid")


def _section(name: str, kind: type[Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for field, default in msgspec.structs.asdict(kind.thresholds).items():
        if field in CLOCKS.get(name, ()):
            continue
        bounds = bounds_of(field, default)
        if isinstance(default, int | float):
            fields[field] = (Annotated[type(default), Field(gt=bounds.gt, ge=bounds.ge, le=bounds.le)], default)
        elif isinstance(default, tuple | list):
            fields[field] = (list[str], Field(default_factory=lambda default=default: list(default)))
        else:
            fields[field] = (type(default), default)
    words = " ".join(inspect.cleandoc(type(kind.thresholds).__doc__ or "").split())
    says = f"{kind.says[:1].upper()}{kind.says[1:]}."
    made: type[BaseModel] = create_model(
        f"{kind.__name__}Section", __config__=_FORBID, __doc__=f"{says} {words}", **fields
    )
    return made


def _sections() -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, kind in DETECTORS.items():
        section = _section(name, kind)
        fields[name] = (section, Field(default_factory=section))
    return create_model("DetectorsSection", __config__=_FORBID, __doc__=_SAYS, **fields)


DetectorsSection: type[BaseModel] = _sections()
"""One section for each detector."""


def given_thresholds(sections: BaseModel, time_zone: str, time_zones: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What was set, by detector, as `sealstream.anomaly.watching.chosen` takes it."""
    given = {name: dict(each) for name, each in sections.model_dump(exclude_unset=True).items() if each}
    if time_zone != "UTC" or time_zones:
        given.setdefault("unusual_hour", {}).update(zone=time_zone, zones=dict(time_zones))
    return given


def check_zone(name: str) -> None:
    """Raises `ValueError` for what is no time zone of this machine."""
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone of this machine: expected one such as Europe/Berlin") from error
