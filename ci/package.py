"""`make package`: what is published, in dist/: the charts, what is in the images (CycloneDX), and their checksums.

The same commit makes the same bytes: times are those of the commit, or of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import helm_python
import yaml

from ci import sbom
from ci.state import ROOT

CHARTS, DIST = ROOT / "charts", ROOT / "dist"


def main() -> None:
    """Make dist/ anew."""
    shutil.rmtree(DIST, ignore_errors=True)
    for path in make(DIST, epoch()):
        print(path.relative_to(ROOT))


def make(folder: Path, seconds: int) -> list[Path]:
    """Write everything into a folder; `seconds` since 1970 are the time of all of it."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        for chart in ("order", "payment", "tandem"):
            made = Path(helm_python.package(CHARTS / chart, destination=Path(temporary)))
            (folder / made.name).write_bytes(repacked(made, seconds))
    version = yaml.safe_load((CHARTS / "tandem" / "Chart.yaml").read_text())["version"]
    for service in ("order", "payment"):
        (folder / f"image-{service}-{version}.cdx.json").write_text(sbom.text(service, version, seconds))
    files = sorted(folder.iterdir())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return [*files, folder / "SHA256SUMS"]


def repacked(archive: Path, seconds: int) -> bytes:
    """A chart's archive as it is but for what would be different the next time: times, and the order of files."""
    plain = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for member in sorted(old.getmembers(), key=_place):
            member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
            new.addfile(member, old.extractfile(member))
    return gzip.compress(plain.getvalue(), mtime=seconds)


def _place(member: tarfile.TarInfo) -> tuple[bool, str]:
    """Chart.yaml first: Helm tells by it what an archive is, and others may read no further."""
    return member.name.count("/") != 1 or not member.name.endswith("/Chart.yaml"), member.name


def epoch() -> int:
    """The time of what is made: SOURCE_DATE_EPOCH, else the commit's."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    argv = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
