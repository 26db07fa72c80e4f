"""The generators, linters and compilers: which are at hand, and how they are installed into .cache/generators."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ci import ROOT
from tests.generators.report import Failed, Report, run

HERE = ROOT / "tests" / "generators"
CACHE = ROOT / ".cache" / "generators"
LOCK = ROOT / "requirements" / "generators.txt"
# The commands on PATH that each of the groups of tools needs.
COMMANDS = {"node": ("node", "npm"), "go": ("go",), "java": ("java", "javac", "mvn"), "python": ()}
OAPI_CODEGEN = "github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
DOWNLOAD = 900.0  # seconds for the downloads of one group
# Redocly sends no statistics and asks for no newer version; npm runs no scripts of packages.
ENVIRONMENT = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


class Tools:
    """The groups of tools that are installed, and the paths of their programs."""

    def __init__(self) -> None:
        self.groups: set[str] = set()
        self.reasons: dict[str, str] = {}

    @property
    def bin(self) -> Path:
        """The folder of the programs that npm installs."""
        return CACHE / "npm" / "node_modules" / ".bin"

    @property
    def python(self) -> Path:
        """The Python with openapi-python-client, and with what generated clients import."""
        return CACHE / "python" / "bin" / "python"

    @property
    def jars(self) -> Path:
        """The folder of openapi-generator and of what generated Java clients import."""
        return CACHE / "jars"

    @property
    def openapi_generator(self) -> Path:
        """The jar of openapi-generator."""
        return next(self.jars.glob("openapi-generator-cli-*.jar"))

    @property
    def oapi_codegen(self) -> Path:
        """The program oapi-codegen."""
        return CACHE / "oapi-codegen"


def install(report: Report) -> Tools:
    """Install the tools of each language whose commands are on PATH."""
    tools = Tools()
    CACHE.mkdir(parents=True, exist_ok=True)
    installers: dict[str, Callable[[], None]] = {"node": _npm, "go": _go, "java": _maven, "python": _pip}

    def one(group: str) -> None:
        missing = [command for command in COMMANDS[group] if shutil.which(command) is None]
        if missing:
            tools.reasons[group] = f"{' and '.join(missing)} not on PATH"
        elif report.check(f"install the tools for {group}", installers[group]):
            tools.groups.add(group)
        else:
            tools.reasons[group] = f"the tools for {group} are not installed"

    with ThreadPoolExecutor(len(installers)) as pool:
        list(pool.map(one, installers))
    return tools


def _once(folder: Path, locks: list[Path], action: Callable[[], None]) -> None:
    """Run `action` unless it has filled `folder` from the same locks. The folder is deleted before."""
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    marker = CACHE / f"{folder.name}.installed"
    if folder.exists() and marker.exists() and marker.read_text() == digest:
        return
    marker.unlink(missing_ok=True)
    if folder.is_dir():
        shutil.rmtree(folder)
    action()
    marker.write_text(digest)


def _npm() -> None:
    folder, locks = CACHE / "npm", [HERE / "npm" / "package.json", HERE / "npm" / "package-lock.json"]

    def fill() -> None:
        folder.mkdir()
        for lock in locks:
            shutil.copy(lock, folder)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder, timeout=DOWNLOAD)

    _once(folder, locks, fill)


def _go() -> None:
    run("go", "build", "-o", CACHE / "oapi-codegen", OAPI_CODEGEN, cwd=HERE / "go", timeout=DOWNLOAD)
    run("go", "mod", "download", cwd=HERE / "go", timeout=DOWNLOAD)


def _maven() -> None:
    folder, sums = CACHE / "jars", HERE / "java" / "jars.sha256"

    def fill() -> None:
        output = f"-DoutputDirectory={folder}"
        goal = f"{DEPENDENCY_PLUGIN}:copy-dependencies"
        run("mvn", "--quiet", "--batch-mode", goal, output, cwd=HERE / "java", timeout=DOWNLOAD)
        wanted = {name: digest for digest, name in (line.split() for line in sums.read_text().splitlines())}
        found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.iterdir()}
        if found != wanted:
            different = {name for name, _ in found.items() ^ wanted.items()}
            raise Failed(f"not as in {sums.name}: {', '.join(sorted(different))}")

    _once(folder, [sums, HERE / "java" / "pom.xml"], fill)


def _pip() -> None:
    folder = CACHE / "python"

    def fill() -> None:
        run(sys.executable, "-m", "venv", folder)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", LOCK, timeout=DOWNLOAD)

    _once(folder, [LOCK], fill)
