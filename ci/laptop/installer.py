"""Creates `.venv` and installs the packages of a lock file into it, with one line of progress.

`make` runs this with the Python of the machine, so it needs only the standard library. A virtual environment gets its
final name after it is complete: an interrupted or failed creation is repeated by the next `make`.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

OLDEST = (3, 11)

# Without --only-binary, a package for which there is no wheel would be compiled.
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:")


class InstallFailed(Exception):
    """The environment could not be created, or a package not be installed. The message says what to do."""


def is_usable(environment: Path) -> bool:
    """Return whether a virtual environment has a Python that is new enough, and pip."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        done = subprocess.run([environment / "bin" / "python", "-c", check], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def create(environment: Path) -> None:
    """Replace `environment` by a new virtual environment with pip. Raises `InstallFailed` and OSError."""
    unfinished = environment.with_name(environment.name + ".unfinished")
    _remove(unfinished)
    done = _run([sys.executable, "-m", "venv", str(unfinished)])
    if done.returncode != 0:
        _remove(unfinished)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallFailed(
            f"{sys.executable} cannot create a virtual environment.\n{_indented(done.stdout)}\n"
            f"On Debian and Ubuntu, install python{version}-venv. Then repeat the command,"
            " or name another Python: make PYTHON=/path/to/python3"
        )
    # pip and the activation scripts contain the path of the environment.
    for script in (unfinished / "bin").iterdir():
        if not script.is_symlink():
            content = script.read_bytes()
            script.write_bytes(content.replace(os.fsencode(unfinished), os.fsencode(environment)))
    _remove(environment)
    unfinished.rename(environment)


def install(environment: Path, lock: Path, what: str) -> None:
    """Install the packages of a lock file, and print one line of progress. Raises `InstallFailed`."""
    packages = sum(not line.startswith((" ", "#")) for line in lock.read_text().splitlines() if line)
    command = [str(environment / "bin" / "python"), *PIP, "-r", str(lock)]
    output, found, text = [], 0, f"Installing {what} into {environment.name} (once)"
    print(text, end="", flush=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            output.append(line)
            found += line.startswith(("Collecting ", "Requirement already satisfied: "))
            if sys.stdout.isatty():
                print(f"\r{text}: {min(found, packages)} of {packages}", end="", flush=True)
    if pip.returncode != 0:
        print()
        raise InstallFailed(
            f"pip could not install the packages of {lock}:\n{_indented(''.join(output[-12:]))}\n"
            "Nothing else was changed. Repeat the command when the cause is gone."
        )
    print(f"\r{text}: {packages} packages" if sys.stdout.isatty() else f": {packages} packages", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the environment if it is missing or unusable, install a lock file, and touch the marker."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("lock", type=Path, help="lock file with hashes")
    parser.add_argument("what", help="what it has, for the line of progress")
    parser.add_argument("--environment", type=Path, default=Path(".venv"))
    parser.add_argument("--marker", type=Path, required=True, help="file that marks the packages as installed")
    options = parser.parse_args(arguments)
    environment = options.environment.absolute()
    try:
        if not is_usable(environment):
            create(environment)
        install(environment, options.lock, options.what)
        kind = options.marker.name.partition("-")[0]
        for marker in environment.glob(f"{kind}-*"):
            marker.unlink()
        (environment / options.marker.name).touch()
    except InstallFailed as error:
        sys.exit(f"Tandem is not installed: {error}")
    except OSError as error:
        sys.exit(
            f"Tandem is not installed: {error.filename or environment}: {error.strerror}."
            " make writes .venv into the checkout: it needs a disk with space and write permission there."
        )
    except KeyboardInterrupt:
        sys.exit("\nTandem is not installed: interrupted. Repeat the command to continue.")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def _remove(path: Path) -> None:
    """Remove a directory, or the link to one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


if __name__ == "__main__":
    main()
