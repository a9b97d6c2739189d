"""Make sealstream/values.schema.json, which Helm refuses wrong values by: `python deploy/helm/make_schema.py`.

What stands under `settings` is described by the settings' own models, less their secrets, which would lie in a
ConfigMap for all to read; what stands under `files` by the settings that name files, for each process those alone that
it needs. A test holds the file to what this makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sealstream.cli.settings import Settings
from sealstream.settings.marks import InFolder, Secret
from sealstream.settings.shapes import Named, Options, Section, fields_of, mark, shape_of

__all__ = ["CHART", "schema"]

CHART = Path(__file__).parent / "sealstream"

Schema = dict[str, Any]

_CHAIN = "[a-z0-9][a-z0-9-]{0,41}"
_NAME = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_FOLDERS = ("anomaly.sigma_rules", "reviews.folder")
_SECRET_PATHS = ("kafka.key_file", "serve.tls_key", "serve.tokens_file", "collect.tls_key", "collect.keys_file")
_OTHER_PATHS = ("serve.tls_cert", "collect.tls_cert", "collect.client_ca")
_KNOWN = {"metrics": ("host", "ports", "targets", "stay_after_alarm")}
_READER = r"postgres\.reader_dsn"
# Which files each may be given, as patterns of settings' names; all may have those of Kafka.
_MAY_HAVE = {
    "sequencer": (r"tracing\.",),
    "checkpointing": (r"chains\.",),
    "postgres-sink": (r"postgres\.sink_dsn", r"tracing\."),
    "archive-sink": (r"archive\.",),
    "activity": (),
    "watch": (_READER, r"archive\."),
    "anomaly": (_READER, r"archive\."),
    "forward": (_READER, r"forward\."),
    "collect": (r"collect\.",),
    "serve": (_READER, r"archive\.", r"serve\."),
    "outbox-relay": (),
    "migrate": (r"postgres\.",),
    "chains": (r"postgres\.(admin|reader)_dsn", r"archive\."),
    "verify": (_READER, r"archive\."),
}
_SEVERAL = ("sequencer", "anomaly", "collect", "serve", "outbox-relay")

_TEXT: Schema = {"type": "string"}
_YES_OR_NO: Schema = {"type": "boolean"}
_TABLE: Schema = {"type": "object"}
_LIST: Schema = {"type": "array"}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_PORTS: Schema = {"type": "array", "items": _PORT}


def _object(properties: Schema, *, required: tuple[str, ...] = ()) -> Schema:
    made: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return made | ({"required": list(required)} if required else {})


def _settings() -> dict[str, Schema]:
    """Definitions by model; `Settings` is the whole."""
    whole = Settings.model_json_schema(ref_template="#/definitions/{model}")
    found: dict[str, Schema] = {**whole.pop("$defs"), "Settings": whole}
    for model in _models(Settings):
        properties = found[model.__name__]["properties"]
        for name, field in fields_of(model).items():
            if mark(field, Secret):
                properties.pop(name)
    found["ChainSection"]["properties"].pop("key_file")
    for section, names in _KNOWN.items():
        for name in names:
            found[f"{section.title()}Section"]["properties"].pop(name)
    for section in ("ServeSection", "CollectSection"):
        for name in ("host", "port"):
            found[section]["properties"].pop(name)
    whole["properties"]["chains"]["propertyNames"] = {"pattern": f"^{_CHAIN}$"}
    # An option of the driver may be a secret by its name: then its file is given, or a setting that stands for it.
    secret = {"pattern": "password|passphrase|secret|token|key[.]pem|oauthbearer[.]config"}
    found["KafkaSection"]["properties"]["options"]["propertyNames"] = {
        "anyOf": [{"pattern": "_file$"}, {"not": secret}]
    }
    header = {"pattern": "([Aa]uthorization|[Kk]ey|[Tt]oken|[Ss]ecret|[Pp]assword|[Ss]ignature|[Cc]ookie|[Aa]uth)"}
    found["TargetSection"]["properties"]["headers"]["propertyNames"] = {"not": header}
    return {name: _plain(each) for name, each in found.items()}


def _plain(given: Any) -> Any:
    """Without titles and defaults, which the settings' own reference has."""
    if isinstance(given, dict):
        kept = {
            name: _plain(each)
            for name, each in given.items()
            if not (name in ("title", "default") and not isinstance(each, dict)) and name != "description"
        }
        if isinstance(given.get("description"), str):
            kept["description"] = " ".join(given["description"].split())
        return kept
    return [_plain(each) for each in given] if isinstance(given, list) else given


def _own(definitions: dict[str, Schema]) -> dict[str, Schema]:
    """The same for what a process lays over them: nothing must be given."""
    text = json.dumps(definitions).replace('"#/definitions/', '"#/definitions/Own')
    own: dict[str, Schema] = {f"Own{name}": each for name, each in json.loads(text).items()}
    for each in own.values():
        each.pop("required", None)
    return own


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in fields_of(model).values():
        shape = shape_of(field.annotation)
        if isinstance(shape, Section | Named):
            yield from _models(shape.model)


def _paths(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, bool]]:
    """Each setting that names a file, as a pattern, and whether a secret is in it."""
    for name, field in fields_of(model).items():
        shape, at = shape_of(field.annotation), f"{before}{name}"
        if isinstance(shape, Section):
            yield from _paths(shape.model, f"{at}.")
        elif isinstance(shape, Named):
            yield from _paths(shape.model, f"{at}.*.")
        elif isinstance(shape, Options) and name == "headers":
            yield f"{at}.*_file", True
        elif mark(field, Secret):
            yield f"{at}_file", True
        elif at in _SECRET_PATHS or at == "chains.*.key_file" or at.endswith("targets.*.key_file"):
            yield at, True
        elif (mark(field, InFolder) and at not in _FOLDERS) or at in _OTHER_PATHS:
            yield at, False


def _files(patterns: tuple[str, ...]) -> Schema:
    given: Schema = {}
    for path, secret in [*_paths(Settings), ("chains.*.key_file", True)]:
        if any(re.match(pattern, path) for pattern in (r"kafka\.", *patterns)):
            pattern = "^" + path.replace(".", "[.]").replace("*", "[A-Za-z0-9-]+") + "$"
            given[pattern] = {"$ref": f"#/definitions/{'secretFile' if secret else 'file'}"}
    return {"type": "object", "additionalProperties": False, "patternProperties": given}


def _of_all(name: str) -> Schema:
    return {
        "settings": {"$ref": "#/definitions/OwnSettings"},
        "files": _files(_MAY_HAVE[name]),
        "mounts": {"$ref": "#/definitions/mounts"},
        "resources": {"$ref": "#/definitions/resources"},
        "podLabels": _TEXTS,
        "podAnnotations": _TEXTS,
        "nodeSelector": _TEXTS,
        "tolerations": _LIST,
        "affinity": _TABLE,
        "priorityClassName": _TEXT,
        "serviceAccount": _object({"annotations": _TEXTS}),
        "enabled": _YES_OR_NO,
    }


def _process(name: str) -> Schema:
    properties = _of_all(name)
    if name in _SEVERAL:
        properties["replicas"] = {"type": "integer", "minimum": 1, "maximum": 512}
    if name in ("collect", "serve"):
        kinds = ["ClusterIP", "NodePort", "LoadBalancer"]
        properties["service"] = _object({"type": {"enum": kinds}, "port": _PORT, "annotations": _TEXTS})
    if name == "outbox-relay":
        outbox = _object(
            {"chain": _TEXT, "table": _TEXT, "dsn": {"$ref": "#/definitions/secretFile"}}, required=("chain", "dsn")
        )
        properties["outboxes"] = {
            "type": "object",
            "additionalProperties": outbox,
            "propertyNames": {"pattern": f"^{_NAME}$"},
        }
    return _object(properties, required=("enabled",))


def _job(name: str) -> Schema:
    properties = _of_all(name)
    if name == "verify":
        properties |= {"schedule": {"type": "string", "minLength": 9}, "stateClaim": _TEXT}
    return _object(properties, required=("enabled",))


def _definitions() -> Schema:
    reference = {"type": "string", "minLength": 1, "maxLength": 253}
    quantities = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    return {
        "secretFile": _object({"secret": reference, "key": reference}, required=("secret", "key")),
        "file": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"secret": reference, "configMap": reference, "key": reference},
            "required": ["key"],
            "oneOf": [{"required": ["secret"]}, {"required": ["configMap"]}],
        },
        "mounts": {
            "type": "object",
            "propertyNames": {"pattern": f"^{_NAME}$", "maxLength": 40},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"secret": reference, "configMap": reference},
                "oneOf": [{"required": ["secret"]}, {"required": ["configMap"]}],
            },
        },
        "resources": _object({"requests": quantities, "limits": quantities, "claims": _LIST}),
        "reached": _object({"to": _LIST, "ports": _PORTS}),
    }


def schema() -> Schema:
    """The whole."""
    settings = _settings()
    reached = {"$ref": "#/definitions/reached"}
    processes = {name: _process(name) for name in _MAY_HAVE if name not in ("migrate", "chains", "verify")}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "global": _TABLE,
            "image": _object(
                {
                    "repository": {"type": "string", "minLength": 1},
                    "tag": _TEXT,
                    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                },
                required=("repository",),
            ),
            "imagePullSecrets": _LIST,
            "nameOverride": _TEXT,
            "fullnameOverride": _TEXT,
            "settings": {"allOf": [{"$ref": "#/definitions/Settings"}, {"required": ["log", "kafka", "chains"]}]},
            "files": _files(()),
            "mounts": {"$ref": "#/definitions/mounts"},
            "podLabels": _TEXTS,
            "podAnnotations": _TEXTS,
            "nodeSelector": _TEXTS,
            "tolerations": _LIST,
            "affinity": _TABLE,
            "priorityClassName": _TEXT,
            "topologySpread": _LIST,
            "user": {"type": "integer", "minimum": 1},
            "tmpSize": _TEXT,
            "processes": _object(processes),
            "jobs": _object({name: _job(name) for name in ("migrate", "chains", "verify")}),
            "metrics": _object({"host": _TEXT, "port": _PORT}),
            "serviceMonitor": _object({"enabled": _YES_OR_NO, "interval": _TEXT, "labels": _TEXTS}),
            "prometheusRule": _object({"enabled": _YES_OR_NO, "labels": _TEXTS, "runbooks": _TEXT}),
            "dashboards": _object({"enabled": _YES_OR_NO, "labels": _TEXTS}),
            "networkPolicy": _object(
                {
                    "enabled": _YES_OR_NO,
                    "scrapers": _LIST,
                    "collectFrom": _LIST,
                    "serveFrom": _LIST,
                    **dict.fromkeys(("dns", "kafka", "postgres", "archive", "targets", "tokens", "traces"), reached),
                }
            ),
            "podDisruptionBudget": _object({"enabled": _YES_OR_NO}),
        },
        "definitions": {**_definitions(), **settings, **_own(deepcopy(settings))},
    }


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
