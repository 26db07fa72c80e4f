"""`make audit`: look for weaknesses in sources and dependencies, and attack the product as an attacker would.

Three steps: bandit on the sources; pip-audit on what the images and the development environment install; and the tests
that docs/security.md names, with all tests marked `adversarial`. All steps run, even if one fails.

pip-audit needs the advisories of PyPI or OSV. Where neither can be reached, or an index does not know a package, this
is said and is no failure, unless AUDIT_REQUIRE_ADVISORIES=1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ci import ROOT

DOCUMENT = ROOT / "docs" / "security.md"
LOCKS = ("order", "payment", "dev")
SERVICES = ("pypi", "osv")
"""Where pip-audit gets advisories; the second is asked if the first does not know the packages."""


def main() -> None:
    """Run all steps. The exit status is 1 if one of them finds something."""
    failed = [step.__name__ for step in (sources, dependencies, attacks) if not step()]
    if failed:
        sys.exit(f"audit: {', '.join(failed)} failed")
    print("audit: nothing was found")


def sources() -> bool:
    """Run bandit, with the configuration in pyproject.toml. Returns whether it finds nothing."""
    print("audit: bandit on apps, ci and k8s", flush=True)
    return _run("bandit", "-q", "-c", "pyproject.toml", "--severity-level", "medium", "-r", "apps", "ci", "k8s")


def dependencies() -> bool:
    """Run pip-audit on each lock. Returns False if it knows a vulnerability, or advisories are required and missing."""
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
    return not vulnerable and not (missing and os.environ.get("AUDIT_REQUIRE_ADVISORIES") == "1")


def attacks() -> bool:
    """Run the tests that docs/security.md names, and those marked `adversarial`. Returns whether all pass."""
    print("audit: the tests that docs/security.md names, and those marked adversarial", flush=True)
    named = _run("pytest", "-q", *named_tests(DOCUMENT.read_text(encoding="utf-8")))
    return _run("pytest", "-q", "-m", "adversarial") and named


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


def _run(*argv: str) -> bool:
    return subprocess.run([_tool(argv[0]), *argv[1:]], cwd=ROOT, check=False).returncode == 0


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


if __name__ == "__main__":
    main()
