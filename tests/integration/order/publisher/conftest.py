"""One pair of services per module."""

from __future__ import annotations

from tests.support.fixtures.per_module import databases, pair

__all__ = ["databases", "pair"]
