"""Runs the commands in the charts' notes."""

from __future__ import annotations

import shutil
import subprocess
from itertools import takewhile

from tests.support.charts.notes import commands
from tests.support.cluster.namespace import say


def run_commands(notes: str, removal: bool = True) -> str:
    """Run the commands in notes in one shell, and return their output. All must succeed.

    With `removal=False`, `helm uninstall` and the commands after it are not run.
    """
    for tool in ("kubectl", "helm", "curl"):
        assert shutil.which(tool), f"the notes use {tool}, which is not on PATH"
    lines = commands(notes)
    if not removal:
        lines = list(takewhile(lambda line: " uninstall " not in line, lines))
    assert lines
    script = "\n".join(["set -euo pipefail", *lines])
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300, check=False)
    for line in [*lines, "---", *done.stdout.splitlines(), *done.stderr.splitlines()]:
        say(line)
    assert done.returncode == 0
    return done.stdout
