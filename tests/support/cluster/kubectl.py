"""kubectl, or the program that the environment variable KUBECTL names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def kubectl(*arguments: str | Path) -> str:
    """Run kubectl and return its output. Its errors are printed. Raises CalledProcessError."""
    argv = [os.environ.get("KUBECTL", "kubectl"), *map(str, arguments)]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout
