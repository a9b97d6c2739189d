"""All HCL under deploy/terraform: it parses, each argument is one that the provider has, each name means something."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.terraform.module import MODULE
from tests.deploy.terraform.sources import Block, Module, is_blocks, modules, references_in

ARGUMENTS = tomllib.loads((Path(__file__).parent / "provider_arguments.toml").read_text())
FOLDERS = [".", "documents", "examples/complete", "examples/minimal"]
# Terraform's own, in any resource.
META = {"count", "depends_on", "for_each", "lifecycle", "provider"}


def read(folder: str) -> Module:
    return modules(MODULE)[folder]


def test_every_folder_is_read() -> None:
    assert list(modules(MODULE)) == FOLDERS


def faults(block: Block) -> Iterator[str]:
    """What the provider would not take."""
    known = ARGUMENTS[block.kind].get(block.type)
    if known is None:
        yield f"{block.type} is not in provider_arguments.toml"
        return
    body = {name: value for name, value in block.body.items() if name not in META}
    yield from _faults(f"{block.type}.{block.name}", body, known)


def _faults(where: str, body: dict[str, Any], known: dict[str, Any]) -> Iterator[str]:
    body = dict(body)
    generated = body.pop("dynamic", [])
    given: dict[str, list[dict[str, Any]]] = {name: value for name, value in body.items() if is_blocks(value)}
    for dynamic in generated:
        for name, value in dynamic.items():
            if not name.startswith("__"):
                assert "for_each" in value
                given.setdefault(name.strip('"'), []).extend(value["content"])
    arguments = {name for name, value in body.items() if not is_blocks(value) and not name.startswith("__")}
    required, optional = set(known.get("required", ())), set(known.get("optional", ()))
    blocks: dict[str, Any] = known.get("blocks", {})
    yield from (f"{where} has no argument {name}" for name in sorted(arguments - required - optional))
    yield from (f"{where} lacks {name}" for name in sorted(required - arguments))
    yield from (f"{where} has no block {name}" for name in sorted(set(given) - set(blocks)))
    for name, rules in blocks.items():
        found = given.get(name, [])
        if rules["times"] != "many" and len(found) > 1:
            yield f"{where} has {len(found)} times {name}"
        if rules["times"] == "must" and not found:
            yield f"{where} lacks the block {name}"
        for each in found:
            yield from _faults(f"{where}.{name}", dict(each), rules)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_argument_is_one_that_the_provider_documents(folder: str) -> None:
    module = read(folder)
    asked = [*module.of("resource"), *module.of("data")]
    assert [fault for block in asked for fault in faults(block)] == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "x", "s3_bucket_name": "b", "multi_region": True}, "has no argument multi_region"),
        ({"name": "x"}, "lacks s3_bucket_name"),
        ({"name": "x", "s3_bucket_name": "b", "selector": [{"__is_block__": True}]}, "has no block selector"),
    ],
)
def test_an_argument_that_is_none_is_told(body: dict[str, Any], said: str) -> None:
    (fault,) = faults(Block("resource", "aws_cloudtrail", "x", body))
    assert said in fault


def test_the_table_has_nothing_that_is_not_used() -> None:
    used = {(block.kind, block.type) for module in modules(MODULE).values() for block in module.blocks if block.type}
    assert {(kind, type_) for kind, types in ARGUMENTS.items() for type_ in types} == used


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_reference_leads_somewhere(folder: str) -> None:
    module = read(folder)
    assert _lost(module, module.references()) == []


@pytest.mark.parametrize(
    "text",
    [
        "${var.nmae}",
        "${local.regoin}",
        "${aws_s3_bucket.archiv.id}",
        "${aws_s3_bucket.archive.urn}",
        "${data.aws_region.current.names}",
        "${module.document.settings}",
        "${module.documents.setting}",
        '"arn:${var.partition}:s3"',
        "${[for process, role in aws_iam_rol.process : role.arn]}",
    ],
)
def test_a_reference_to_nothing_is_told(text: str) -> None:
    assert _lost(read("."), references_in(text)) != []


def _lost(module: Module, references: set[str]) -> list[str]:
    """The references that no block answers."""
    variables = {block.name for block in module.of("variable")}
    declared = {(block.kind, block.type, block.name) for block in module.blocks}
    lost = []
    for reference in sorted(references):
        parts = reference.split(".")
        kind = "data" if parts[0] == "data" else "resource"
        if kind == "data":
            parts = parts[1:]
        first, name, rest = parts[0], parts[1], parts[2:]
        if first == "var":
            good = name in variables
        elif first == "local":
            good = name in module.locals
        elif first == "module":
            good = bool(rest) and rest[0] in _outputs(module, name)
        elif first in ("each", "path"):
            good = name in ("key", "value", "module")
        else:
            known = ARGUMENTS[kind].get(first, {})
            readable = {*known.get("required", ()), *known.get("optional", ()), *known.get("attributes", ())}
            good = (kind, first, name) in declared and (not rest or rest[0] in readable)
        if not good:
            lost.append(reference)
    return lost


def _outputs(module: Module, name: str) -> set[str]:
    calls = [block for block in module.of("module") if block.name == name]
    return {block.name for call in calls for block in _called(module, call).of("output")}


def _called(module: Module, call: Block) -> Module:
    folder = (module.folder / call.body["source"].strip('"')).resolve()
    return modules(MODULE)[str(folder.relative_to(MODULE))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_module_is_called_with_variables_that_it_has_and_all_that_it_needs(folder: str) -> None:
    module = read(folder)
    for call in module.of("module"):
        variables = _called(module, call).of("variable")
        given = set(call.arguments) - {"source", "version", *META}
        assert given <= {block.name for block in variables}
        assert {block.name for block in variables if "default" not in block.body} <= given


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_variable_and_local_is_used_and_described(folder: str) -> None:
    module = read(folder)
    used = module.references()
    for block in module.of("variable"):
        # Its own validation does not count.
        elsewhere = {
            found
            for other in module.blocks
            if other is not block
            for text in _all_texts(other.body)
            for found in references_in(text)
        } | {found for text in _all_texts(module.locals) for found in references_in(text)}
        assert any(each == f"var.{block.name}" or each.startswith(f"var.{block.name}.") for each in elsewhere), (
            block.name
        )
        assert block.body["description"].strip('"')
        assert "type" in block.body
    for name in module.locals:
        assert any(each == f"local.{name}" or each.startswith(f"local.{name}.") for each in used), name
    for block in module.of("output"):
        assert block.body["description"].strip('"')


def _all_texts(value: Any) -> list[str]:
    return list(Module(MODULE, [], {"": value}).expressions())


def test_each_template_is_given_what_it_asks_for_and_no_more() -> None:
    text = (MODULE / "documents/main.tf").read_text()
    calls = re.findall(r'templatefile\("\$\{path\.module\}/([^"]+)", \{(.*?)\n\s*\}\)', text, re.S)
    given: dict[str, set[str]] = {}
    for file, body in calls:
        names = {line.split("=")[0].strip() for line in body.splitlines() if "=" in line}
        for path in _templates(file):
            given[path] = given.get(path, set()) | names
    found = {str(path.relative_to(MODULE / "documents")) for path in (MODULE / "documents").rglob("*.tftpl")}
    assert set(given) == found
    for path, names in given.items():
        asked = _asked(MODULE / "documents" / path)
        assert asked <= names, path
        # Policies of processes and of trust share one list of names.
        if "process" not in path and "trust" not in path and _templates(path) == [path] and path not in _SHARED:
            assert asked == names, path


_SHARED = {
    f"policies/{name}.json.tftpl" for name in ("archive-sink", "archive-reader", "watch", "operator", "import", "lake")
}


def _templates(file: str) -> list[str]:
    """The files that a templatefile call can mean."""
    if "${file}" in file:
        return sorted(_SHARED)
    if "${var.run_on}" in file:
        return [file.replace("${var.run_on}", each) for each in ("eks", "oidc", "ecs")]
    return [file]


def _asked(path: Path) -> set[str]:
    text = path.read_text()
    codes = re.findall(r"[$%]\{\s*([^}]*)\}", text)
    words = {word for code in codes for word in re.findall(r"[a-z_]+(?![a-z_]*\()", re.sub(r'"[^"$]*"', "", code))}
    words |= {word for code in re.findall(r"\$\{(\w+)\}?", text) for word in [code]}
    return words - {"for", "in", "if", "endif", "endfor", "length", "jsonencode", "role"}


def test_what_has_to_be_so_stands_in_the_resources() -> None:
    """The promises of docs/aws.md that no policy makes."""
    module = read(".")
    by_name = {(block.type, block.name): block.body for block in module.of("resource")}
    for bucket in ("archive", "trail"):
        assert by_name["aws_s3_bucket", bucket]["object_lock_enabled"] is True
        assert by_name["aws_s3_bucket", bucket]["lifecycle"][0]["prevent_destroy"] is True
        rule = by_name["aws_s3_bucket_object_lock_configuration", bucket]["rule"][0]["default_retention"][0]
        assert rule["mode"] == '"COMPLIANCE"'
        assert ("aws_s3_bucket_logging", bucket) in by_name
        assert by_name["aws_kms_key", bucket]["enable_key_rotation"] is True
        assert by_name["aws_kms_key", bucket]["lifecycle"][0]["prevent_destroy"] is True
    for bucket in ("archive", "trail", "access_log"):
        versions = by_name["aws_s3_bucket_versioning", bucket]["versioning_configuration"][0]
        assert versions["status"] == '"Enabled"'
        closed = by_name["aws_s3_bucket_public_access_block", bucket]
        names = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
        assert all(closed[name] is True for name in names)
        owner = by_name["aws_s3_bucket_ownership_controls", bucket]["rule"][0]
        assert owner["object_ownership"] == '"BucketOwnerEnforced"'
        assert ("aws_s3_bucket_policy", bucket) in by_name
    encrypted = by_name["aws_s3_bucket_server_side_encryption_configuration", "archive"]["rule"][0]
    assert encrypted["apply_server_side_encryption_by_default"][0]["sse_algorithm"] == '"aws:kms"'
    trail = by_name["aws_cloudtrail", "this"]
    names = ("enable_logging", "enable_log_file_validation", "include_global_service_events", "is_multi_region_trail")
    assert all(trail[name] is True for name in names)
    assert trail["kms_key_id"] == "${aws_kms_key.trail.arn}"
    # S3 delivers no access log into a bucket with a default retention.
    assert ("aws_s3_bucket_object_lock_configuration", "access_log") not in by_name


def test_there_is_no_security_group_that_lets_anybody_in() -> None:
    for block in read(".").of("resource"):
        if block.type.startswith("aws_vpc_security_group"):
            assert "0.0.0.0/0" not in str(block.body)
        if block.type == "aws_vpc_security_group_ingress_rule":
            assert "var.network." in block.body["security_group_id"]
            assert "aws_security_group.process" in block.body["referenced_security_group_id"]
