"""The module and its examples by the provider's own schema, and applied with AWS played by Terraform.

No package index has the provider, and it is 650 MB: `TERRAFORM_PLUGIN_DIR` names a folder that `terraform providers
mirror` made, or one that holds `registry.terraform.io/hashicorp/aws/...`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.deploy.terraform.module import MODULE, terraform, tool
from tests.long_runs import long_run

pytestmark = [long_run, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module, where what is played can be taken down again."""
    plugins = os.environ.get("TERRAFORM_PLUGIN_DIR")
    if tool() is None or not plugins:
        pytest.skip("needs terraform, and TERRAFORM_PLUGIN_DIR with the AWS provider")
    folder = tmp_path_factory.mktemp("provider") / "terraform"
    shutil.copytree(MODULE, folder)
    keys, text = folder / "keys.tf", "prevent_destroy = true"
    for path in (keys, folder / "archive.tf", folder / "trail.tf"):
        assert text in path.read_text()
        path.write_text(path.read_text().replace(text, "prevent_destroy = false"))
    (folder / "tests").mkdir()
    shutil.copy(Path(__file__).parent / "module.tftest.hcl", folder / "tests")
    for each in (folder, folder / "examples/minimal", folder / "examples/complete"):
        begun = terraform(each, "init", "-no-color", "-input=false", f"-plugin-dir={plugins}")
        assert begun.code == 0, begun.said
    return folder


@pytest.mark.parametrize("where", [".", "examples/minimal", "examples/complete"])
def test_the_provider_takes_it(copy: Path, where: str) -> None:
    valid = terraform(copy / where, "validate", "-no-color")
    assert valid.code == 0, valid.said
    assert "Warning" not in valid.said


def test_what_it_plans_and_makes_is_what_it_promises(copy: Path) -> None:
    tested = terraform(copy, "test", "-no-color")
    assert tested.code == 0, tested.said
    assert "4 passed, 0 failed" in tested.said
