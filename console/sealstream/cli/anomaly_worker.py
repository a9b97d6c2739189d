"""`python -m sealstream.cli.anomaly_worker`: one worker of the watch, as `sealstream run anomaly` starts it.

Its life is tied to its parent's before anything else is loaded, which takes a second or two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sealstream.anomaly.worker_life import live_with

__all__ = ["main"]


def main() -> None:
    """Run until SIGTERM, or until something ends it; never returns."""
    parser = argparse.ArgumentParser(prog="python -m sealstream.cli.anomaly_worker")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--pipe", type=int, required=True, help="where reports go")
    parser.add_argument("--parent", type=int, required=True, help="who started this")
    arguments = parser.parse_args()
    live_with(arguments.parent)

    from sealstream.cli.anomaly_wiring import run_worker

    run_worker(arguments.config, arguments.pipe)


if __name__ == "__main__":
    main()
