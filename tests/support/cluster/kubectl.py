"""kubectl, or the program that the environment variable KUBECTL names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def program() -> str:
    """Return the program's name or path."""
    return os.environ.get("KUBECTL", "kubectl")


def kubectl(*arguments: str | Path) -> str:
    """Run kubectl and return its output. Its errors are printed. Raises CalledProcessError."""
    argv = [program(), *map(str, arguments)]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout
