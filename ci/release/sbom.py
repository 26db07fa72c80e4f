"""The SBOM of an image as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): the packages of its lock file.

Each package has its version, the SHA-256 of every file that the lock accepts for it, and the license from its own
metadata. The packages of the base image are not included.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageMetadata, metadata

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.markers import Marker

from ci import ROOT

_IMAGE = {"sys_platform": "linux", "platform_system": "Linux", "implementation_name": "cpython", "os_name": "posix"}
_IMAGE |= {"platform_python_implementation": "CPython", "python_version": "3.11", "python_full_version": "3.11.0"}
_NAMESPACE = uuid.UUID("8f5f3a52-93a5-5c5c-8a3f-2a4f1c0b7d10")
_PIN = re.compile(r"^([a-z0-9-]+)==([^\s;]+)(?: ; (.*?))? \\$")


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a lock file, with the SHA-256 of each file that may be installed for it."""

    name: str
    version: str
    hashes: tuple[str, ...]


def text(service: str, version: str, epoch: int) -> str:
    """Return the SBOM of a service's image. It is reproducible; `epoch` is its time, in seconds since 1970 (UTC)."""
    lock = (ROOT / "requirements" / f"{service}.txt").read_text()
    image = Component(type=ComponentType.CONTAINER, name=f"tandem/{service}", version=version, bom_ref=service)
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, f"{service} {version} {epoch}\n{lock}"),
        components=[_component(package) for package in packages(lock)],
    )
    bom.metadata.component = image
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.register_dependency(image, bom.components)
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def packages(lock: str) -> Iterator[Package]:
    """Yield the packages of a lock file that an image installs. Raises ValueError for one without version or hash."""
    for entry in re.split(r"\n(?=[a-z0-9])", lock.partition("\n")[2].partition("\n")[2].strip()):
        pin, *rest = entry.splitlines()
        found = _PIN.match(pin)
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
        if found is None or not hashes:
            raise ValueError(f"not a pinned and hashed package: {pin}")
        name, version, marker = found.groups()
        if marker is None or Marker(marker).evaluate(_IMAGE):
            yield Package(name, version, tuple(hashes))


def _component(package: Package) -> Component:
    purl = PackageURL("pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=str(purl),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in package.hashes],
        licenses=licenses(metadata(package.name)),
    )


def licenses(stated: PackageMetadata) -> list[License]:
    """Return the license in a package's metadata: an SPDX expression, a License line, or its license classifiers."""
    text = (stated.get_all("License-Expression") or stated.get_all("License") or [""])[0]
    if text and "\n" not in text:
        return [LicenseFactory().make_from_string(text)]
    classifiers = stated.get_all("Classifier") or []
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    return [DisjunctiveLicense(name=name) for name in names]
