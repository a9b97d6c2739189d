"""What `make rebuild` runs and `make test` does not: it has ten minutes for everything."""

from __future__ import annotations

import os

import pytest

__all__ = ["LONG", "long_run"]

LONG = bool(os.environ.get("SEALSTREAM_LONG_TESTS"))
long_run = pytest.mark.skipif(not LONG, reason="`make rebuild` runs it (SEALSTREAM_LONG_TESTS=1)")
