"""What developers and CI run: the local stack, generators, releases, the benchmark and the cluster tests."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The root of the checkout."""
