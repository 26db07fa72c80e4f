"""How a child process is started: so that it dies with its parent and, where needed, not as root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

# The account that owns nothing, by the number that every system gives it.
NOBODY = 65534


class NeedsAccount(Exception):
    """We are root, and what must not be root cannot be given another account here."""


def runs_as_root() -> bool:
    """Whether this process is root (never, on a system without user ids)."""
    return sys.platform != "win32" and os.geteuid() == 0


def with_parent(argv: Sequence[str], signal_name: str) -> list[str]:
    """`argv`, to be sent the signal (`TERM`, `INT`) should its parent die before it, whatever of.

    Only Linux can promise that; elsewhere the answer is `argv` as it was.
    """
    option = ("--pdeathsig", signal_name)
    return [*_setpriv(option), *argv] if _works(option) else list(argv)


def without_root(argv: Sequence[str], signal_name: str) -> list[str]:
    """`argv` as `with_parent` has it, and run by NOBODY where we are root (PostgreSQL refuses to be root).

    Raises `NeedsAccount`.
    """
    if not runs_as_root():
        return with_parent(argv, signal_name)
    account = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--pdeathsig", signal_name)
    # The checkout may lie below a directory that only root can enter (a home, a `mktemp -d`). The one
    # capability to pass through it anyway is a long way from root, and is given to nothing but PostgreSQL.
    # The bit is for access(2), by which PostgreSQL looks for its programs: it ignores capabilities otherwise.
    enter = ("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", "--securebits", "+no_setuid_fixup")
    for options in (account + enter, account):
        if _works(options):
            return [*_setpriv(options), *argv]
    raise NeedsAccount(
        "PostgreSQL does not run as root, and setpriv (util-linux), which would run it as nobody, "
        "does not work here: use an ordinary account"
    )


def _setpriv(options: tuple[str, ...]) -> list[str]:
    return ["setpriv", *options, "--"]


@cache
def _works(options: tuple[str, ...]) -> bool:
    """Whether this system's setpriv knows the options and may do what they say."""
    if shutil.which("setpriv") is None:
        return False
    return subprocess.run([*_setpriv(options), "true"], capture_output=True, check=False).returncode == 0
