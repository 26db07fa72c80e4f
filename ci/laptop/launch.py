"""Command prefixes for child processes: end with the parent, and do not run as root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

# The account `nobody`, by the number that it has on every system.
NOBODY = 65534


class NeedsAccount(Exception):
    """The caller runs as root and cannot run a command as another account."""


def runs_as_root() -> bool:
    """Return whether this process runs as root. False on systems without user ids."""
    return sys.platform != "win32" and os.geteuid() == 0


def with_parent(argv: Sequence[str], signal_name: str) -> list[str]:
    """Return `argv` with a prefix that sends the process `signal_name` (`TERM`, `INT`) when its parent dies.

    Only Linux supports this. Elsewhere `argv` is returned unchanged.
    """
    option = ("--pdeathsig", signal_name)
    return [*_setpriv(option), *argv] if _works(option) else list(argv)


def without_root(argv: Sequence[str], signal_name: str) -> list[str]:
    """Like `with_parent`, and if this process is root, run the command as `nobody`. PostgreSQL refuses to run as root.

    Raises `NeedsAccount`.
    """
    if not runs_as_root():
        return with_parent(argv, signal_name)
    account = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--pdeathsig", signal_name)
    # The checkout may be below a directory that only root can enter (a home, a `mktemp -d`). CAP_DAC_OVERRIDE lets the
    # command enter it; only PostgreSQL gets this capability. no_setuid_fixup is for access(2), with which PostgreSQL
    # looks for its programs and which otherwise ignores capabilities.
    enter = ("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", "--securebits", "+no_setuid_fixup")
    for options in (account + enter, account):
        if _works(options):
            return [*_setpriv(options), *argv]
    raise NeedsAccount(
        "PostgreSQL does not run as root, and setpriv (util-linux), which could run it as nobody, "
        "does not work here. Use an ordinary account."
    )


def _setpriv(options: tuple[str, ...]) -> list[str]:
    return ["setpriv", *options, "--"]


@cache
def _works(options: tuple[str, ...]) -> bool:
    """Return whether this system's setpriv knows the options and is permitted to apply them."""
    if shutil.which("setpriv") is None:
        return False
    return subprocess.run([*_setpriv(options), "true"], capture_output=True, check=False).returncode == 0
