"""Commands that the charts' notes tell people to type, typed."""

from __future__ import annotations

import shutil
import subprocess
from itertools import takewhile

from tests.support.charts.notes import commands
from tests.support.cluster.namespace import say


def typed(notes: str, removal: bool = True) -> str:
    """Run the commands of notes in one shell, as they stand there; what they printed. All have to succeed.

    Without `removal`, those from the uninstall on are left out.
    """
    for tool in ("kubectl", "helm", "curl"):
        assert shutil.which(tool), f"the notes tell people to type {tool}, which is not on the PATH"
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
