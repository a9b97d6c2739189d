"""deploy/terraform as Terraform itself sees it, without a provider: the variables, and all policies and settings.

Of the module's own files `variables.tf` and `main.tf` are taken, of the latter what asks AWS replaced by what AWS would
answer, and `documents/` as it is. Terraform then makes nothing, and says what the policies and the settings are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["ACCOUNT", "ARCHIVE_KEY", "MODULE", "REGION", "TRAIL_KEY", "VALUES", "Answer", "made", "terraform", "tool"]

MODULE = Path(__file__).parents[3] / "deploy/terraform"
ACCOUNT, REGION = "111122223333", "eu-central-1"
ARCHIVE_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-00000000000a"
TRAIL_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-00000000000b"

VALUES: dict[str, Any] = {
    "archive_bucket": "example-audit-archive",
    "trail_bucket": "example-audit-trail",
    "access_log_bucket": "example-audit-access-logs",
    "administrators": [f"arn:aws:iam::{ACCOUNT}:role/infrastructure"],
    "retention_days": 2196,
    "log_name": "audit.example.com/clinic",
    "kafka": {"bootstrap": "b-1.example.com:9096,b-2.example.com:9096"},
    "kubernetes": {"cluster": "production"},
    "postgres": {"host": "db.example.com"},
    "secrets": {
        "checkpointing": {
            "arns": [f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:checkpointing-AbCdEf"],
            "kms_key_arns": [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-00000000000c"],
        },
        "sequencer": {
            "arns": [f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:sequencer-AbCdEf"],
            "kms_key_arns": [f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-00000000000c"],
        },
    },
}
_ANSWERS = {
    "data.aws_caller_identity.current.account_id": ACCOUNT,
    "data.aws_partition.current.partition": "aws",
    "data.aws_region.current.id": REGION,
    "aws_kms_key.archive.arn": ARCHIVE_KEY,
    "aws_kms_key.trail.arn": TRAIL_KEY,
}


class Answer(NamedTuple):
    """What a command of Terraform's said, and with which exit code."""

    code: int
    said: str


def tool() -> str | None:
    """Terraform or OpenTofu, whichever is on the path; None: neither."""
    return shutil.which("terraform") or shutil.which("tofu")


def terraform(folder: Path, *arguments: str) -> Answer:
    """Runs it in a folder, with nobody's settings and no call home."""
    program = tool()
    assert program is not None
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))}
    environment |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return Answer(done.returncode, done.stdout + done.stderr)


def made(folder: Path, **values: Any) -> dict[str, Any]:
    """All outputs of `documents/` for these variables of the module. Raises `ValueError` with what was refused."""
    if not (folder / "main.tf").exists():
        _lay_out(folder)
    (folder / "terraform.tfvars.json").write_text(json.dumps(VALUES | values))
    applied = terraform(folder, "apply", "-auto-approve", "-no-color", "-input=false")
    if applied.code:
        raise ValueError(" ".join(re.sub(r"[│╷╵]", " ", applied.said).split()))
    told = terraform(folder, "output", "-json")
    assert told.code == 0, told.said
    documents: dict[str, Any] = json.loads(told.said)["documents"]["value"]
    return documents


def _lay_out(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(MODULE / "variables.tf", folder)
    shutil.copytree(MODULE / "documents", folder / "documents")
    main = re.sub(r'^data "\w+" "\w+" \{\}\n', "", (MODULE / "main.tf").read_text(), flags=re.M)
    for asked, answer in _ANSWERS.items():
        assert asked in main, f"main.tf does not ask for {asked}"
        main = main.replace(asked, json.dumps(answer))
    (folder / "main.tf").write_text(main + '\noutput "documents" {\n  value = module.documents\n}\n')
    begun = terraform(folder, "init", "-no-color", "-input=false")
    assert begun.code == 0, begun.said
    valid = terraform(folder, "validate", "-no-color")
    assert valid.code == 0, valid.said
