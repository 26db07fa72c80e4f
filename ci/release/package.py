"""`make package`: write the files of a release to dist/: charts, SBOMs of the images (CycloneDX) and checksums.

The files are reproducible: all times are the commit's, or SOURCE_DATE_EPOCH. With arguments SERVICE=NAME@sha256:...,
the charts name these images by default.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import helm_python
import yaml

from ci import ROOT
from ci.release import sbom

CHARTS, DIST = ROOT / "charts", ROOT / "dist"


def main() -> None:
    """Replace dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    images = dict(argument.split("=", 1) for argument in sys.argv[1:])
    for path in make(DIST, epoch(), images):
        print(path.relative_to(ROOT))


def make(folder: Path, seconds: int, images: Mapping[str, str] | None = None) -> list[Path]:
    """Write all files into a new folder and return their paths. `seconds` (since 1970) is the time in all of them.

    `images` are the images that the charts name by default, as NAME@sha256:..., by service.
    """
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        charts = Path(temporary, "charts")
        shutil.copytree(CHARTS, charts, symlinks=True)
        for service, image in (images or {}).items():
            name_image(charts / service / "values.yaml", *image.split("@"))
        for chart in ("order", "payment", "tandem"):
            made = Path(helm_python.package(charts / chart, destination=Path(temporary)))
            (folder / made.name).write_bytes(repacked(made, seconds))
    version = yaml.safe_load((CHARTS / "tandem" / "Chart.yaml").read_text())["version"]
    for service in ("order", "payment"):
        (folder / f"image-{service}-{version}.cdx.json").write_text(sbom.text(service, version, seconds))
    files = sorted(folder.iterdir())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return [*files, folder / "SHA256SUMS"]


def name_image(values: Path, repository: str, digest: str) -> None:
    """Change the default image in a chart's values.yaml. Raises ValueError if the file has another form."""
    text, number = re.subn(r"(?m)^  repository: .*$", f"  repository: {repository}", values.read_text(), count=1)
    text, digests = re.subn(r'(?m)^  digest: ""$', f"  digest: {digest}", text, count=1)
    if not (number and digests):
        raise ValueError(f"{values}: image.repository and image.digest were not found")
    values.write_text(text)


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
