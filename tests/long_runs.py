"""Tests that take longer than `make test` has time for: `make long` runs them, and continuous integration runs that."""

from __future__ import annotations

import os

import pytest

__all__ = ["LONG", "long_run"]

LONG = bool(os.environ.get("SEALSTREAM_LONG_TESTS"))
long_run = pytest.mark.long
