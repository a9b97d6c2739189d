"""`python -m sealstream.devstack DATA_DIR [--ports KAFKA POSTGRES S3]`: the three servers alone, in the foreground.

For work on one test, and for the tests of the supervisor itself. It ends on SIGTERM or Ctrl-C, and then stops them.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from sealstream.devstack.directory import PUBLIC_PORTS
from sealstream.devstack.stack import Stack
from sealstream.errors import SealstreamError

_STEP_EVERY_S = 0.25


def main() -> int:
    """Start, look after, stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sealstream.devstack", description="Run the three servers alone.")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--ports", type=int, nargs=3, metavar=tuple(name.upper() for name in PUBLIC_PORTS))
    arguments = parser.parse_args()
    ports = dict(zip(PUBLIC_PORTS, arguments.ports, strict=True)) if arguments.ports else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    stack = Stack(arguments.data_dir, ports=ports, progress=lambda what: print(what, flush=True))
    try:
        endpoints = stack.start()
        print(f"ready: kafka {endpoints.kafka_bootstrap}, s3 {endpoints.s3_endpoint_url}, postgres", flush=True)
        while True:
            stack.step()
            time.sleep(_STEP_EVERY_S)
    except SealstreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        stack.stop()


if __name__ == "__main__":
    raise SystemExit(main())
