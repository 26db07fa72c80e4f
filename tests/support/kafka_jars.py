"""`make kafka`: fetch Apache Kafka's jars into .cache/kafka, with Maven, for the tests with a real Kafka.

Maven gets what tests/support/kafka/pom.xml names from the repository that it is configured for. Nothing is used that
jars.sha256 does not list.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ci import ROOT

FOLDER = ROOT / ".cache" / "kafka"
PINNED = Path(__file__).parent / "kafka"
JAVA = 17
"""The oldest Java that Kafka runs on."""


def pinned() -> dict[str, str]:
    """Return the SHA-256 of each jar, by its name."""
    lines = (PINNED / "jars.sha256").read_text().split("\n")
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines if line)}


@functools.cache
def missing() -> str | None:
    """Return why Kafka cannot run here, or None if it can."""
    if not all((FOLDER / name).is_file() for name in pinned()):
        return "KAFKA IS NOT TESTED: its jars are not in .cache/kafka; `make kafka` fetches them with Maven"
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return f"KAFKA IS NOT TESTED: there is no java on PATH; it needs Java {JAVA} or newer"
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < JAVA:
        return f"KAFKA IS NOT TESTED: the java on PATH is older than {JAVA}"
    return None


def fetch() -> None:
    """Replace the folder by the pinned jars. Ends the program if Maven fails or a jar is not the pinned one."""
    maven = shutil.which("mvn")
    if maven is None:
        sys.exit("make kafka: Maven (mvn) is not on PATH")
    FOLDER.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix="kafka-") as name:
        folder = Path(name)
        subprocess.run(
            [maven, "-B", "-q", "-f", str(PINNED / "pom.xml"), "dependency:copy-dependencies"]
            + ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"],
            check=True,
        )
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        if found != pinned():
            names = sorted(name for name, _ in found.items() ^ pinned().items())
            sys.exit(f"make kafka: these jars are not those of tests/support/kafka/jars.sha256: {', '.join(names)}")
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(folder, FOLDER)
    print(f"{len(found)} jars are in {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    fetch()
