"""A folder of rules: read whole, each rule by itself, so that a wrong one is named and the others go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from sealstream.anomaly.sigma.correlations import Correlation
from sealstream.anomaly.sigma.events import EventRule, rule_key
from sealstream.anomaly.sigma.faults import CantRun, line_of, place_of
from sealstream.anomaly.sigma.matching import ADDRESS_FIELDS, POLICY, compiled, fields_of, unknown_to

__all__ = ["RuleFault", "Rules", "SigmaFolder", "read_rules"]

_GROUPS: dict[tuple[str, ...], Literal["actor", "address"]] = {("actor_id",): "actor", ("ip_address",): "address"}


class RuleFault(NamedTuple):
    """A rule that does not run. `line`: from 1."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Rules(NamedTuple):
    """What runs, and what does not."""

    detectors: list[EventRule | Correlation]
    faults: list[RuleFault]


class _Document(NamedTuple):
    """One YAML document of a file."""

    file: str
    node: yaml.Node
    members: dict[str, Any]

    def fault(self, error: Exception) -> RuleFault:
        """What is wrong with it, and in which line."""
        reason = str(error.args[0]) if error.args else type(error).__name__
        return RuleFault(self.file, line_of(self.node, place_of(error), reason), reason)


class SigmaFolder:
    """Rules in the `*.yml` and `*.yaml` of a folder and those below it. `changed` is cheap enough to ask often."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[tuple[str, int, int], ...] | None = None

    def changed(self) -> bool:
        """Whether a file came, went or was written since `load`."""
        return self._state() != self._seen

    def load(self) -> Rules:
        """All rules as the files say now. A folder that is not there holds none, which is a fault of its own."""
        self._seen = self._state()
        if not self._folder.is_dir():
            return Rules([], [RuleFault(str(self._folder), 1, "there is no such folder of Sigma rules")])
        texts: dict[str, str] = {}
        faults = []
        for name, _, _ in self._seen:
            try:
                texts[name] = (self._folder / name).read_text()
            except (OSError, UnicodeDecodeError) as error:
                faults.append(RuleFault(name, 1, f"can't be read: {error}"))
        rules = read_rules(texts)
        return Rules(rules.detectors, [*faults, *rules.faults])

    def _state(self) -> tuple[tuple[str, int, int], ...]:
        found = []
        for path in sorted(self._folder.rglob("*.y*ml")):
            try:
                stat = path.stat()
            except OSError:
                continue
            if path.suffix in (".yml", ".yaml"):
                found.append((str(path.relative_to(self._folder)), stat.st_mtime_ns, stat.st_size))
        return tuple(found)


def read_rules(texts: Mapping[str, str]) -> Rules:
    """The rules of these files, by name. Nothing is raised: what is wrong is a fault, with its line."""
    faults: list[RuleFault] = []
    documents = [each for name, text in texts.items() for each in _documents(name, text, faults)]
    base: dict[str, tuple[_Document, SigmaRule]] = {}
    correlations: list[tuple[_Document, SigmaCorrelationRule]] = []
    for document in documents:
        try:
            if "correlation" in document.members:
                correlations.append((document, SigmaCorrelationRule.from_dict(document.members)))
            else:
                rule = SigmaRule.from_dict(document.members, policy=POLICY)
                compiled(rule)
                if rule_key(rule) in base:
                    raise CantRun(f"there is another rule called {rule_key(rule)}", "name" if rule.name else "title")
                for key in {str(each) for each in (rule.name, rule.id, rule.title) if each}:
                    base.setdefault(key, (document, rule))
        except (SigmaError, CantRun) as error:
            faults.append(document.fault(error))
        except (TypeError, AttributeError, KeyError, ValueError) as error:  # what pySigma did not expect in a document
            faults.append(document.fault(CantRun(f"is no rule that pySigma can read: {error}")))
    detectors: list[EventRule | Correlation] = []
    used: set[int] = set()
    for document, correlation in correlations:
        try:
            made = _correlation(correlation, base, used)
            if made.rule in base or made.rule in {each.rule for each in detectors}:
                raise CantRun(f"there is another rule called {made.rule}", "name" if correlation.name else "title")
            detectors.append(made)
        except CantRun as error:
            faults.append(document.fault(error))
    events = {id(rule): rule for _, rule in base.values() if id(rule) not in used}
    detectors = [*(EventRule(rule, compiled(rule)) for rule in events.values()), *detectors]
    return Rules(detectors, faults)


def _documents(name: str, text: str, faults: list[RuleFault]) -> list[_Document]:
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        loaded = [each for each in yaml.safe_load_all(text) if each is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "is no YAML"
        faults.append(RuleFault(name, mark.line + 1 if mark else 1, f"is no YAML: {problem}"))
        return []
    documents = []
    for node, members in zip(nodes, loaded, strict=True):
        if isinstance(members, dict):
            documents.append(_Document(name, node, members))
        else:
            faults.append(RuleFault(name, node.start_mark.line + 1, "is no rule: expected title, logsource, detection"))
    return documents


def _correlation(
    rule: SigmaCorrelationRule, base: Mapping[str, tuple[_Document, SigmaRule]], used: set[int]
) -> Correlation:
    group = tuple(rule.group_by or ())
    subject = _GROUPS.get(group)
    if subject is None:
        named = ", ".join(group) or "nothing"
        raise CantRun(
            f"group-by names {named}: expected actor_id or ip_address, which activity is kept by",
            "correlation",
            "group-by" if group else "",
        )
    if rule.aliases.aliases:
        raise CantRun("aliases can't be run: every rule here names the same fields", "correlation", "aliases")
    referred = []
    for reference in rule.rules or ():
        known = base.get(reference.reference)
        if known is None:
            raise CantRun(
                f"it refers to the rule {reference.reference}, which is not here or does not run",
                "correlation",
                "rules",
            )
        referred.append(known[1])
    if not referred:
        raise CantRun("it refers to no rule: expected rules: [name, ...]", "correlation")
    for each in referred:
        if subject == "address" and (unknown := unknown_to(fields_of(each), ADDRESS_FIELDS)):
            raise CantRun(
                f"the rule {rule_key(each)} looks at {', '.join(unknown)}, which is not kept by address: "
                f"expected {', '.join(ADDRESS_FIELDS)}",
                "correlation",
                "group-by",
            )
    made = Correlation(str(rule.name or rule.id or rule.title), rule, [compiled(each) for each in referred], subject)
    if not rule.generate:
        used.update(id(each) for each in referred)
    return made
