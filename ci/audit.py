"""`make audit`: look for weaknesses in sources and dependencies, and attack the product as an attacker would.

Three steps: bandit on the sources; pip-audit on what the images and the development environment install; and the tests
that docs/security.md names, with all tests marked `adversarial`. All steps run, even if one fails.

pip-audit needs the advisories of PyPI or OSV. Where neither can be reached, or an index does not know a package, the
other steps run all the same, and the last line says what was not checked.

The exit status is 0 if everything was checked and nothing was found, 1 if something was found, and 3 if nothing was
found but packages could not be checked. With AUDIT_ADVISORIES=optional, it is 0 in the last case, too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

from ci import ROOT

DOCUMENT = ROOT / "docs" / "security.md"
LOCKS = ("order", "payment", "dev")
SERVICES = ("pypi", "osv")
"""Where pip-audit gets advisories; the second is asked if the first does not know the packages."""


INCOMPLETE = 3
"""The exit status if nothing was found, but not everything was checked."""


class Result(StrEnum):
    """What a step has found."""

    CLEAN = "nothing found"
    FOUND = "FOUND SOMETHING"
    UNCHECKED = "NOT CHECKED"


def main() -> int:
    """Run all steps, print what each has found, and return the exit status (see the module's docstring)."""
    steps = {"bandit": sources, "pip-audit": dependencies, "tests": attacks}
    results = {name: step() for name, step in steps.items()}
    print("audit:", ", ".join(f"{name}: {result}" for name, result in results.items()))
    if Result.FOUND in results.values():
        return 1
    optional = os.environ.get("AUDIT_ADVISORIES") == "optional"
    return INCOMPLETE if Result.UNCHECKED in results.values() and not optional else 0


def sources() -> Result:
    """Run bandit, with the configuration in pyproject.toml."""
    print("audit: bandit on apps, ci and k8s", flush=True)
    return _run("bandit", "-q", "-c", "pyproject.toml", "--severity-level", "medium", "-r", "apps", "ci", "k8s")


def dependencies() -> Result:
    """Run pip-audit on each lock."""
    missing = vulnerable = False
    for lock in LOCKS:
        path = ROOT / "requirements" / f"{lock}.txt"
        audited, skipped, found = _best(path)
        for line in found:
            print(f"audit: VULNERABLE {line} (requirements/{lock}.txt)")
        if skipped:
            print(f"audit: NOT AUDITED: {skipped} of {audited + skipped} packages of requirements/{lock}.txt")
        else:
            print(f"audit: pip-audit on requirements/{lock}.txt: {audited} packages, {len(found)} vulnerabilities")
        missing, vulnerable = missing or bool(skipped), vulnerable or bool(found)
    if missing:
        print("audit: the advisories of PyPI and OSV cannot be had here. Repeat the audit where they can.", flush=True)
    if vulnerable:
        return Result.FOUND
    return Result.UNCHECKED if missing else Result.CLEAN


def attacks() -> Result:
    """Run the tests that docs/security.md names, and those marked `adversarial`."""
    print("audit: the tests that docs/security.md names, and those marked adversarial", flush=True)
    named = _run("pytest", "-q", *named_tests(DOCUMENT.read_text(encoding="utf-8")))
    return max(_run("pytest", "-q", "-m", "adversarial"), named, key=lambda result: result is Result.FOUND)


def named_tests(document: str) -> list[str]:
    """Return the tests that a text names, as pytest's node ids (`tests/unit/test_x.py::test_y`), each once."""
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", document)))


def _best(path: Path) -> tuple[int, int, list[str]]:
    """Audit a lock with the first service that knows all packages, or else the one that knows most."""
    answers = []
    for service in SERVICES:
        answers.append(_audited(path, service))
        if not answers[-1][1]:
            break
    return min(answers, key=lambda answer: answer[1])


def _audited(path: Path, service: str) -> tuple[int, int, list[str]]:
    """Return how many packages of a lock were audited and how many not, and the vulnerabilities found."""
    pinned = len(re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==", path.read_text(encoding="utf-8"), re.MULTILINE))
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10", "-f", "json"]
    done = subprocess.run(
        [_tool("pip-audit"), *options, "-s", service, "-r", str(path)], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):  # the service does not respond
        return 0, pinned, []
    known = [package for package in packages if "skip_reason" not in package]
    found = [f"{one['name']} {one['version']}: {each['id']}" for one in known for each in one["vulns"]]
    return len(known), len(packages) - len(known), found


def _run(*argv: str) -> Result:
    done = subprocess.run([_tool(argv[0]), *argv[1:]], cwd=ROOT, check=False)
    return Result.FOUND if done.returncode else Result.CLEAN


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


if __name__ == "__main__":
    sys.exit(main())
