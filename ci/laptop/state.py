"""The state directory of the local stack: databases, keys, logs, and a lock.

This module needs only the standard library, so that `make clean` works before anything is installed.
"""

import argparse
import fcntl
import json
import os
import re
import secrets
import shutil
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from ci import ROOT


class AlreadyRunning(Exception):
    """Another process uses this directory. The message has its process id."""


class StateBroken(Exception):
    """A file in the state directory cannot be used. The message names it and says what to do."""


class State:
    """A state directory, by default `.run` in the checkout."""

    def __init__(self, path: Path = ROOT / ".run") -> None:
        self.path = path
        self.logs = path / "logs"
        self.pids = path / "pids"
        self.metrics = path / "metrics"
        self.postgres = path / "postgres"
        self.env = path / "env"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory if it is missing, and lock it. The lock ends with the process.

        Raises `AlreadyRunning` if another process has the lock, and `StateBroken` if something else is in its place.
        """
        if (self.path.exists() or self.path.is_symlink()) and not self.path.is_dir():
            raise StateBroken(f"{self.path} is not a directory: move it away")
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise AlreadyRunning(f"Tandem already runs in {self.path}, as process {lock.read()}") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def reset(self) -> None:
        """Delete what belongs to the previous run. Databases and keys stay."""
        self.env.unlink(missing_ok=True)
        for directory in (self.logs, self.pids, self.metrics):
            if directory.is_symlink() or directory.is_file():
                directory.unlink()
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()

    def is_full(self) -> bool:
        """Return whether the disk of the directory has less than 32 MiB left. PostgreSQL then stops to work."""
        existing = next(path for path in (self.path, *self.path.parents) if path.exists())
        return shutil.disk_usage(existing).free < 32 << 20

    def metrics_of(self, service: str) -> Path:
        """Return the directory in which the processes of a service combine their metrics."""
        directory = self.metrics / service
        directory.mkdir(exist_ok=True)
        return directory

    def keys(self) -> dict[str, str]:
        """Return the API keys and the secret that signs events. The first call generates them.

        Raises `StateBroken` if the file that keeps them cannot be used.
        """
        path = self.path / "keys.json"
        keys = read_texts(path, "Delete it to get new keys; the databases stay")
        for name in ("API_KEY", "OTHER_API_KEY", "READONLY_API_KEY", "OPERATOR_API_KEY", "PAYMENT_API_KEY"):
            # Without characters that a shell would need quotes for (see `write_env`).
            if not re.fullmatch(r"[\w.+/=-]{8,255}", keys.setdefault(name, new_key()), re.ASCII):
                raise StateBroken(f"{path}: {name} is not an API key. Delete it to get a new one; the databases stay")
        keys.setdefault("EVENTS_SECRETS", f"whsec_{b64encode(secrets.token_bytes(32)).decode()}")
        if not re.fullmatch(r"(whsec_[A-Za-z0-9+/]{32,}={0,2} ?)+", keys["EVENTS_SECRETS"]):
            raise StateBroken(f"{path}: EVENTS_SECRETS is not a secret. Delete it to get a new one; the databases stay")
        if len(set(keys.values())) < len(keys):
            raise StateBroken(f"{path}: two keys are equal. Delete the file to get new keys; the databases stay")
        write_private(path, json.dumps(keys, indent=2))
        return keys

    def write_env(self, values: Mapping[str, str]) -> None:
        """Write `env`, a file for shells to source. It exists while the stack is ready, and is always complete.

        Values must not need quotes, so that other programs can read the lines as they are.
        """
        lines = [f"{name}={value}\n" for name, value in values.items()]
        write_private(self.env, "".join(lines) + f"export {' '.join(values)}\n")


def read_texts(path: Path, remedy: str) -> dict[str, str]:
    """Return a JSON file's object of texts, empty if there is no such file.

    Raises `StateBroken` with the remedy if the file has something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except IsADirectoryError:
        found = None
    except (ValueError, RecursionError):  # json.loads also raises ValueError if the text is not UTF-8, -16 or -32
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise StateBroken(f"{path} is damaged: it must be a JSON object of texts. {remedy}")
    return found


def new_key() -> str:
    """Return a new API key: `tandem_`, 40 random characters and a checksum (docs/auth.md)."""
    body = secrets.token_hex(20)
    return f"tandem_{body}{sha256(body.encode()).hexdigest()[:6]}"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read. It is replaced as a whole."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.rename(path)


def main() -> None:
    """Delete the state directory, unless Tandem runs in it (`make clean`)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--remove", action="store_true", required=True)
    parser.parse_args()
    state = State()
    if not state.path.exists():
        return
    try:
        if not state.path.is_dir():
            state.path.unlink()
            return
        with state.locked():
            shutil.rmtree(state.path)
    except AlreadyRunning as error:
        sys.exit(f"{error}: stop it first")
    except OSError as error:
        sys.exit(f"{state.path} could not be removed: {error}")


if __name__ == "__main__":
    main()
