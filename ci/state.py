"""The directory where Tandem on a laptop keeps everything: databases, keys, logs, and who runs it.

Standard library only, so that `make clean` works with nothing installed.
"""

import argparse
import fcntl
import json
import os
import secrets
import shutil
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class AlreadyRunning(Exception):
    """Another Tandem runs in this directory; the text says which process."""


class State:
    """One such directory; `.run` in the checkout unless a test has its own."""

    def __init__(self, path: Path = ROOT / ".run") -> None:
        self.path = path
        self.logs = path / "logs"
        self.pids = path / "pids"
        self.metrics = path / "metrics"
        self.postgres = path / "postgres"
        self.env = path / "env"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory, created where it is missing; no other process can hold it meanwhile.

        Raises `AlreadyRunning`. The end of the process, whatever its cause, lets go of the directory.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise AlreadyRunning(f"Tandem runs already in {self.path}, as process {lock.read()}") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def renew(self) -> None:
        """Empty what belongs to one run only; databases and keys stay."""
        self.env.unlink(missing_ok=True)
        for directory in (self.logs, self.pids, self.metrics):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()

    def metrics_of(self, service: str) -> Path:
        """The directory in which the processes of one service add up their metrics."""
        directory = self.metrics / service
        directory.mkdir(exist_ok=True)
        return directory

    def keys(self) -> dict[str, str]:
        """The API keys and the secret that signs events: made at the first call, then the same for ever."""
        path = self.path / "keys.json"
        keys: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        for name in ("API_KEY", "OTHER_API_KEY", "READONLY_API_KEY", "OPERATOR_API_KEY", "PAYMENT_API_KEY"):
            keys.setdefault(name, f"tdm_{secrets.token_hex(20)}")
        keys.setdefault("EVENTS_SECRETS", f"whsec_{b64encode(secrets.token_bytes(32)).decode()}")
        write_private(path, json.dumps(keys, indent=2))
        return keys

    def write_env(self, values: Mapping[str, str]) -> None:
        """Write `env`, to be sourced: it is there as long as everything is ready, and never in part.

        The values must need no quoting, so that other readers than a shell can take the lines as they are.
        """
        lines = [f"{name}={value}\n" for name, value in values.items()]
        write_private(self.env, "".join(lines) + f"export {' '.join(values)}\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.rename(path)


def main() -> None:
    """`python -m ci.state --remove`: delete the directory, unless Tandem runs in it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--remove", action="store_true", required=True)
    parser.parse_args()
    state = State()
    if not state.path.exists():
        return
    try:
        with state.held():
            shutil.rmtree(state.path)
    except AlreadyRunning as error:
        sys.exit(f"{error}: stop it first")
    except OSError as error:
        sys.exit(f"{state.path} could not be removed: {error}")


if __name__ == "__main__":
    main()
