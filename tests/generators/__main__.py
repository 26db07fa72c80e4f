"""`make generators [STRICT=1]`: generators of clients and linters accept the OpenAPI documents in docs/openapi.

From each document openapi-generator (TypeScript, Go, Java, Python), openapi-typescript, oapi-codegen and
openapi-python-client generate code, and the compilers of the languages accept it. Redocly and Spectral find no error.
Three of the generated clients then place, read, list and refund on running services.

The tools are pinned in this folder and in requirements/generators.txt. They are installed into .cache/generators, with
the package registries that npm, Go, Maven and pip are configured for. A check is skipped, and the output says so, if
node, Go or Java is not on PATH; with `--strict` this is a failure.
"""

from __future__ import annotations

import argparse
import sys

from tests.generators import checks, running, tools
from tests.generators.report import Report


def main() -> int:
    """Return exit status 1 if a check failed, or with `--strict` if one was skipped."""
    parser = argparse.ArgumentParser(prog="make generators", description="Generate clients and compile them.")
    parser.add_argument("--strict", action="store_true", help="fail if node, Go or Java is missing")
    strict: bool = parser.parse_args().strict
    report = Report()
    installed = tools.install(report)
    checks.generate_and_compile(installed, report)
    running.journeys(installed, report)
    return report.end(strict)


if __name__ == "__main__":
    sys.exit(main())
