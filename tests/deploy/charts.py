"""The Helm chart, rendered by Helm's own code (`helm-python-sdk`, Helm 4), without a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import helm_python
import jsonschema
import yaml

__all__ = [
    "CHART",
    "EXAMPLES",
    "Rendered",
    "containers_of",
    "faults_of_values",
    "findings_of_lint",
    "over",
    "pod_of",
    "render",
    "settings_of",
]

_FOLDER = Path(__file__).parents[2] / "deploy" / "helm"
CHART = _FOLDER / "sealstream"
EXAMPLES = _FOLDER / "examples"

Manifest = dict[str, Any]


class Rendered(NamedTuple):
    """What Helm makes: manifests, or why there are none."""

    manifests: tuple[Manifest, ...]
    refused: str
    text: str

    def of(self, kind: str) -> list[Manifest]:
        """All of one kind."""
        return [each for each in self.manifests if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        """The only one of this kind and name."""
        (found,) = (each for each in self.of(kind) if each["metadata"]["name"] == name)
        return found


def render(*values: Mapping[str, Any] | Path) -> Rendered:
    """The chart as release `audit` with these values, one laid over another."""
    given: dict[str, Any] = {}
    for each in values:
        given = over(given, yaml.safe_load(each.read_text()) if isinstance(each, Path) else each)
    return _rendered(json.dumps(given))


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


@cache
def _rendered(values: str) -> Rendered:
    try:
        _chart().validate_schema(json.loads(values))
        made = _chart().render(json.loads(values), name="audit", namespace="audit")
    except helm_python.HelmError as error:
        return Rendered((), str(error), "")
    text = "\n---\n".join(each for name, each in made.items() if not name.endswith("NOTES.txt"))
    return Rendered(tuple(each for each in yaml.safe_load_all(text) if each), "", text)


def findings_of_lint(values: Mapping[str, Any]) -> list[str]:
    """What Helm's lint has against the chart with these values, hints aside."""
    report = helm_python.lint(CHART, dict(values), strict=True, namespace="audit", kube_version="v1.34.0")
    return [f"{each['path']}: {each['error']}" for each in report["messages"] if each["severity"] > 1] + report[
        "errors"
    ]


def pod_of(manifest: Manifest) -> Manifest | None:
    """The pod's specification of whatever makes pods."""
    specification = manifest["spec"]
    if manifest["kind"] == "CronJob":
        specification = specification["jobTemplate"]["spec"]
    found: Manifest | None = specification["template"]["spec"] if "template" in specification else None
    return found


def containers_of(rendered: Rendered) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Every container, those that run first included, with what it is called and its pod."""
    for kind in ("Deployment", "Job", "CronJob"):
        for manifest in rendered.of(kind):
            pod = pod_of(manifest)
            assert pod is not None
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                yield f"{kind} {manifest['metadata']['name']}, {container['name']}", container, pod


def settings_of(rendered: Rendered, pod: Manifest) -> str:
    """The settings file that a pod is given."""
    (volume,) = (each for each in pod["volumes"] if each["name"] == "settings")
    text: str = rendered.one("ConfigMap", volume["configMap"]["name"])["data"]["sealstream.toml"]
    return text


def faults_of_values(values: Mapping[str, Any]) -> list[str]:
    """Why the chart's schema does not take these values, laid over the chart's own."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    given = over(yaml.safe_load((CHART / "values.yaml").read_text()), values)
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(given)]


def over(under: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """One laid over the other, as Helm does it: what is null goes."""
    merged = dict(under)
    for key, value in changes.items():
        standing = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = over(standing if isinstance(standing, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
