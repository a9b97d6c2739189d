"""What checkov finds in deploy/terraform: nothing that is not excused beside the resource (`make checkov`)."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from tests.deploy.checkov import checkov
from tests.deploy.terraform.module import MODULE
from tests.long_runs import long_run


@long_run
@pytest.mark.timeout(600)
def test_checkov_finds_nothing() -> None:
    program = checkov()
    arguments = [
        "--directory",
        str(MODULE),
        "--framework",
        "terraform",
        "--compact",
        "--skip-download",
        "--output",
        "json",
    ]
    environment = {**os.environ, "LOG_LEVEL": "ERROR", "BC_SKIP_MAPPING": "TRUE"}
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=500, check=False, env=environment
    )
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 50
    assert report["summary"]["parsing_errors"] == 0
    failed = {(each["check_id"], each["resource"], each["check_name"]) for each in report["results"]["failed_checks"]}
    assert sorted(failed) == []
    assert all(each["check_result"]["suppress_comment"] for each in report["results"]["skipped_checks"])
