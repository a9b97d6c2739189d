"""Which detectors there are whose alerts can be asked for, and the name that was likely meant for one there is not."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from sealstream.anomaly.detectors import DETECTORS, PIPELINE_DETECTORS
from sealstream.cli.anomaly_rules import sigma_folder
from sealstream.cli.harmless import harmless
from sealstream.cli.settings import Settings
from sealstream.errors import Misconfigured

__all__ = ["check_detector"]


def check_detector(settings: Settings, name: str, raised_by: Callable[[], Iterable[str]]) -> None:
    """Raises `Misconfigured` for a name that is none of a detector, of a Sigma rule of the settings' folder, or of
    those that raised an alert before. `raised_by` says the last, and is asked only where the others don't know it.
    """
    own = [*DETECTORS, *PIPELINE_DETECTORS]
    if name in own:
        return
    known = list(dict.fromkeys([*own, *_of_rules(settings), *sorted(raised_by())]))
    if name in known:
        return
    by_case = {each.casefold(): each for each in known}
    wanted = name.casefold().replace("-", "_")
    near = difflib.get_close_matches(wanted, by_case, n=1, cutoff=0.6)
    hint = f"did you mean {by_case[near[0]]}?" if near else f"there are {', '.join(known)}"
    raise Misconfigured(f"there is no detector {harmless(name)}: {harmless(hint)}")


def _of_rules(settings: Settings) -> list[str]:
    folder = sigma_folder(settings)
    return [] if folder is None else [each.name for each in folder.load().detectors]
