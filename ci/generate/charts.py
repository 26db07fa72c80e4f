"""`make charts`: generate the charts' values schemas and the tables of values in their READMEs."""

from __future__ import annotations

from pathlib import Path

from ci.generate import chart_readmes, chart_schemas, files


def texts() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    return chart_schemas.texts() | chart_readmes.texts()


if __name__ == "__main__":
    files.main(texts(), "charts")
