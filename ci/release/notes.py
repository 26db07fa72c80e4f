"""The release notes of a version: its section of CHANGELOG.md.

`python -m ci.release.notes VERSION` prints them. The exit status is 1 if there is no such section.
"""

from __future__ import annotations

import re
import sys

from ci import ROOT


def section(changelog: str, version: str) -> str:
    """Return the section of a version without its heading. Raises ValueError if there is none or it is empty."""
    found = re.search(
        rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|^\[[^\]]+\]:|\Z)", changelog, re.DOTALL | re.MULTILINE
    )
    text = found[1].strip() if found else ""
    if not text:
        raise ValueError(f"CHANGELOG.md has no section [{version}]")
    return text


def main() -> None:
    """Print the notes of the version on the command line."""
    try:
        print(section((ROOT / "CHANGELOG.md").read_text(), sys.argv[1]))
    except ValueError as error:
        sys.exit(f"notes: {error}")


if __name__ == "__main__":
    main()
