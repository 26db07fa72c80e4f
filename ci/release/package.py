"""`make package`: write the files of a release to dist/: charts, SBOMs of the images (CycloneDX) and checksums.

The files are reproducible: all times are the commit's, or SOURCE_DATE_EPOCH.
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

from ci import ROOT
from ci.release import sbom

CHARTS, DIST = ROOT / "charts", ROOT / "dist"


def main() -> None:
    """Replace dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    for path in make(DIST, epoch()):
        print(path.relative_to(ROOT))


def make(folder: Path, seconds: int) -> list[Path]:
    """Write all files into a new folder and return their paths. `seconds` (since 1970) is the time in all of them."""
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
    """Return a chart's archive with what differs between builds replaced: times, owners and the order of files."""
    plain = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for member in sorted(old.getmembers(), key=_position):
            member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
            new.addfile(member, old.extractfile(member))
    return gzip.compress(plain.getvalue(), mtime=seconds)


def _position(member: tarfile.TarInfo) -> tuple[bool, str]:
    """Sort Chart.yaml first: Helm identifies an archive by it, and other tools may read no further."""
    return member.name.count("/") != 1 or not member.name.endswith("/Chart.yaml"), member.name


def epoch() -> int:
    """Return SOURCE_DATE_EPOCH, or the time of the commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    argv = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
