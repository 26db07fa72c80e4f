"""`make run` creates `.venv`: in temporary checkouts, with locks of one small package and without a network."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ci import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# What `python -m venv` does on Debian without python3-venv: it leaves an environment without pip, and fails.
BROKEN_VENV = """
import pathlib, sys
bin = pathlib.Path(sys.argv[1]) / "bin"
bin.mkdir(parents=True)
(bin / "python").symlink_to(sys.executable)
sys.exit("The virtual environment was not created successfully because ensurepip is not available.")
"""

# Copies a complete environment, which takes a tenth of the time that it takes to make one.
COPYING_VENV = "import shutil, sys\nshutil.copytree({made!r}, sys.argv[1], symlinks=True)\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete virtual environment."""
    environment = tmp_path_factory.mktemp("made") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    return environment


def wheel(folder: Path) -> str:
    """Write a wheel of a package `tiny`, and return its line in a lock."""
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return f"tiny==1.0 --hash=sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n"


class Checkout:
    """A checkout in which `make run` only says that it runs. `python -m venv` copies the environment `made`."""

    def __init__(self, path: Path, made: Path) -> None:
        self.path = path
        self.copying = self._modules("copying", COPYING_VENV.format(made=str(made)))
        (path / "ci" / "laptop").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", path)
        shutil.copy(ROOT / "ci" / "__init__.py", path / "ci")
        shutil.copy(ROOT / "ci" / "laptop" / "installer.py", path / "ci" / "laptop")
        (path / "ci" / "laptop" / "__main__.py").write_text("import tiny\nprint('Tandem runs')\n")
        (path / "requirements").mkdir()
        self.lock = path / "requirements" / "laptop.txt"
        self.lock.write_text(wheel(path))
        for other in ("dev", "failover"):
            (path / "requirements" / f"{other}.txt").write_text("")

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", "run", *arguments],
            cwd=self.path,
            env={
                "PATH": os.environ["PATH"],
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(self.path),
                "PYTHON": sys.executable,
                "PYTHONPATH": self.copying,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )

    def breaks_venv(self) -> str:
        """Return a PYTHONPATH with which `python -m venv` fails."""
        return self._modules("broken", BROKEN_VENV)

    def _modules(self, name: str, venv: str) -> str:
        folder = self.path / name
        folder.mkdir(parents=True)
        (folder / "venv.py").write_text(venv)
        return str(folder)


@pytest.fixture
def checkout(tmp_path: Path, made: Path) -> Checkout:
    return Checkout(tmp_path / "checkout", made)


def test_packages_are_installed_once_with_one_line_of_progress(checkout: Checkout) -> None:
    first = checkout.run(PYTHONPATH="")
    assert first.stdout.splitlines() == [
        "Installing the packages that Tandem needs into .venv (once): 1 packages",
        "Tandem runs",
    ]
    assert checkout.run().stdout == "Tandem runs\n"
    pip = (checkout.path / ".venv" / "bin" / "pip").read_text()
    assert str(checkout.path / ".venv" / "bin" / "python") in pip
    assert not (checkout.path / ".venv.unfinished").exists()


def test_a_failed_virtual_environment_is_explained_and_leaves_nothing(checkout: Checkout) -> None:
    failed = checkout.run(PYTHONPATH=checkout.breaks_venv())
    assert failed.returncode != 0
    assert "ensurepip is not available" in failed.stdout
    assert f"install python3.{sys.version_info.minor}-venv" in failed.stdout
    assert "Traceback" not in failed.stdout
    assert not list(checkout.path.glob(".venv*"))
    assert "Tandem runs" in checkout.run().stdout, "no directory had to be removed by hand"


def test_an_environment_that_an_older_make_left_without_pip_is_replaced(checkout: Checkout) -> None:
    left = checkout.path / ".venv" / "bin"
    left.mkdir(parents=True)
    (left / "python").symlink_to(sys.executable)
    (left.parent / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\nversion = 3.11.0\n")
    assert "Tandem runs" in checkout.run().stdout


@pytest.mark.parametrize("left", ["file", "link", "no python", "python that does not start"])
def test_anything_else_in_the_place_of_the_environment_is_replaced(checkout: Checkout, left: str) -> None:
    environment = checkout.path / ".venv"
    if left == "file":
        environment.write_text("")
    elif left == "link":
        environment.symlink_to(checkout.path / "gone")
    else:
        (environment / "bin").mkdir(parents=True)
    if left == "python that does not start":
        (environment / "bin" / "python").write_text("#!/nowhere/python\n")
        (environment / "bin" / "python").chmod(0o755)
    assert "Tandem runs" in checkout.run().stdout


def test_an_interrupted_installation_is_completed(checkout: Checkout) -> None:
    good = checkout.lock.read_text()
    checkout.lock.write_text(good.replace("tiny==1.0", "tiny==2.0"))
    failed = checkout.run()
    assert failed.returncode != 0
    assert "pip could not install the packages" in failed.stdout
    assert "tiny==2.0" in failed.stdout
    assert "Traceback" not in failed.stdout
    checkout.lock.write_text(good)
    assert "Tandem runs" in checkout.run().stdout


@pytest.mark.parametrize("body", ["exit 1", "exit 127"])
def test_a_python_that_is_too_old_or_missing_is_named(checkout: Checkout, body: str) -> None:
    old = checkout.path / "python3.8"
    old.write_text(f"#!/bin/sh\n{body}\n")
    old.chmod(0o755)
    failed = checkout.run(f"PYTHON={old}")
    assert failed.returncode != 0
    assert f"Tandem needs Python 3.11 or newer, and {old} is not" in failed.stdout
    assert not list(checkout.path.glob(".venv*"))
