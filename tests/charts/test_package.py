"""The files of a release: charts, SBOMs, checksums and image labels. They are reproducible."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Any

import helm_python
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from chassis import __version__
from ci import ROOT
from ci.release import package, sbom
from tests.support.charts import kustomize
from tests.support.charts.kustomize import K8S, containers
from tests.support.charts.rendering import ALONE, CHARTS, PLACEHOLDER, from_file

EPOCH = 1_790_000_000
BASE = "registry.example.com/python:3.14-slim@sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "dist"
    package.make(folder, EPOCH)
    return folder


@pytest.fixture(params=["order", "payment"])
def document(request: pytest.FixtureRequest, made: Path) -> tuple[str, dict[str, Any]]:
    (path,) = made.glob(f"image-{request.param}-*.cdx.json")
    return request.param, json.loads(path.read_text())


def test_a_second_build_is_identical(made: Path, tmp_path: Path) -> None:
    package.make(tmp_path / "again", EPOCH)
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in made.iterdir()}


def test_there_is_a_checksum_of_every_file(made: Path) -> None:
    lines = [line.split("  ") for line in (made / "SHA256SUMS").read_text().splitlines()]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.iterdir()}
    files.pop("SHA256SUMS")
    assert {name: digest for digest, name in lines} == files
    assert len(files) == 5


@pytest.mark.parametrize("chart", ["order", "payment", "tandem"])
def test_a_chart_renders_the_same_from_its_archive_and_from_the_checkout(made: Path, chart: str) -> None:
    (archive,) = made.glob(f"{chart}-*.tgz")
    upgrade = {"is_upgrade": True, "is_install": False}  # an upgrade generates no secrets
    values = {**ALONE[chart], **({"postgresql": {"existingSecret": "keys"}} if chart != "tandem" else {})}
    rendered = []
    for source in (archive, CHARTS / chart):
        with helm_python.Chart.load(source) as loaded:
            files = loaded.render(values, name="tandem", namespace="shop", **upgrade)
        rendered.append({path: re.sub(r"tdm_\w+|whsec_\S+|\w{32,}", "", text) for path, text in files.items()})
    assert rendered[0] == rendered[1]


def test_the_sbom_is_valid_cyclonedx(document: tuple[str, dict[str, Any]]) -> None:
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document[1]))
    assert errors is None


def test_the_sbom_lists_the_packages_of_the_lock_with_hashes_and_licenses(
    document: tuple[str, dict[str, Any]],
) -> None:
    service, content = document
    lock = (ROOT / "requirements" / f"{service}.txt").read_text()
    locked = set(re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE))
    components = content["components"]
    named = {(each["name"], each["version"]) for each in components}
    assert locked - named == {(name, version) for name, version in locked if name == "tzdata"}  # only needed on Windows
    assert named <= locked
    for each in components:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        assert each["licenses"], each["name"]
        assert all(f"sha256:{one['content']}" in lock for one in each["hashes"])
    assert content["metadata"]["component"]["name"] == f"tandem/{service}"
    (whole,) = (one for one in content["dependencies"] if one["ref"] == service)
    assert set(whole["dependsOn"]) == {each["bom-ref"] for each in components}


def test_a_lock_without_hashes_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"flask==3\.1\.0"):
        list(sbom.packages("# made\n#    by\nflask==3.1.0\n"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"License-Expression": "MIT AND BSD-3-Clause"}, {"value": "MIT AND BSD-3-Clause"}),
        ({"License": "MIT"}, {"id": "MIT"}),
        (
            {"License": "the whole\ntext", "Classifier": "License :: OSI Approved :: BSD License"},
            {"name": "BSD License"},
        ),
    ],
)
def test_a_license_is_the_one_in_the_package_s_metadata(fields: dict[str, str], said: dict[str, str]) -> None:
    stated = Message()
    for name, value in fields.items():
        stated[name] = value
    (found,) = sbom.licenses(stated)  # type: ignore[arg-type]
    assert {name: getattr(found, name) for name in said} == said


def git(folder: Path, *arguments: str) -> str:
    """Run git with fixed authors and times, and return its output."""
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com"}
    who |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com", "GIT_COMMITTER_DATE": f"{EPOCH} +0200"}
    argv = ["git", "-C", str(folder), *arguments]
    return subprocess.run(argv, env={**os.environ, **who}, capture_output=True, text=True, check=True).stdout.strip()


def test_the_images_labels_name_the_commit_and_the_base_image(tmp_path: Path) -> None:
    names = ["ci/images", "charts/tandem/Chart.yaml", "Dockerfile.order", "Dockerfile.payment"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    env = {**os.environ, "IMAGE_BUILD": "printf %s\\n", "BASE_IMAGE": BASE}
    said = subprocess.run([tmp_path / "ci/images"], env=env, capture_output=True, text=True, check=True).stdout
    assert said.count("--build-arg") == 2 * 6
    told = dict(line.split("=", 1) for line in said.splitlines() if re.match(r"[A-Z_]+=", line))
    assert told == {
        "BASE_IMAGE": BASE,
        "BASE_NAME": BASE.partition("@")[0],
        "BASE_DIGEST": BASE.partition("@")[2],
        "VERSION": __version__,
        "REVISION": git(tmp_path, "rev-parse", "HEAD"),
        "CREATED": "2026-09-21T14:13:20Z",
    }
    for service in ("order", "payment"):
        text = (ROOT / f"Dockerfile.{service}").read_text()
        assert set(re.findall(r"^ARG ([A-Z_]+)", text, re.MULTILINE)) == told.keys()
        used = re.findall(r'org\.opencontainers\.image\.([a-z.]+)="\$\{([A-Z_]+)\}"', text)
        assert dict(used) == {
            "version": "VERSION",
            "revision": "REVISION",
            "created": "CREATED",
            "base.name": "BASE_NAME",
            "base.digest": "BASE_DIGEST",
        }


DIGEST = f"sha256:{'ab' * 32}"


def built_on(tmp_path: Path, builder: str, answer: str, **env: str) -> tuple[set[str], str, str]:
    """Run ci/images with a builder that prints its arguments. It answers `inspect` with `answer`, or fails without it.

    Returns the values of BASE_IMAGE and BASE_DIGEST that it was given, and what was printed.
    """
    program = tmp_path / builder
    program.write_text(f"""#!/bin/sh
case " $* " in *" inspect "*) [ -n '{answer}' ] && echo '{answer}'; exit ;; esac
printf '%s\\n' "$@"
""")
    program.chmod(0o755)
    done = subprocess.run(
        [ROOT / "ci/images"],
        env={**os.environ, "IMAGE_BUILD": f"{program} build -t", **env},
        capture_output=True,
        text=True,
        check=True,
    )
    images = set(re.findall(r"^BASE_IMAGE=(.*)$", done.stdout, re.MULTILINE))
    (digest,) = set(re.findall(r"^BASE_DIGEST=(.*)$", done.stdout, re.MULTILINE))
    return images, digest, done.stdout + done.stderr


@pytest.mark.parametrize("builder", ["docker", "buildah", "podman"])
def test_images_are_built_on_the_digest_that_the_builder_knows(tmp_path: Path, builder: str) -> None:
    images, digest, said = built_on(tmp_path, builder, f"docker.io/library/python@{DIGEST}")
    assert (images, digest) == ({f"python:3.14-slim@{DIGEST}"}, DIGEST)
    assert f"images: base image python:3.14-slim@{DIGEST}" in said
    assert "no digest is known" not in said


def test_a_base_image_without_a_known_digest_is_used_by_its_tag_and_this_is_said(tmp_path: Path) -> None:
    images, digest, said = built_on(tmp_path, "docker", "")
    assert (images, digest) == ({"python:3.14-slim"}, "")
    assert "images: no digest is known for it" in said
    images, digest, _ = built_on(tmp_path, "docker", "", BASE_IMAGE=f"python:3.13-slim@{DIGEST}")
    assert (images, digest) == ({f"python:3.13-slim@{DIGEST}"}, DIGEST)


def test_production_names_its_images_by_digest() -> None:
    case = from_file("tandem", "high-availability")
    images = {container["image"] for title, container in case.containers() if "test" not in title}
    assert images
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images), images


@pytest.mark.parametrize("digest", [PLACEHOLDER, "sha256:" + "0" * 64, "sha256:" + "f" * 64, "sha256:"])
def test_a_chart_with_a_placeholder_for_a_digest_is_not_installed(digest: str) -> None:
    with pytest.raises(
        (helm_python.HelmValuesError, helm_python.HelmRenderError), match=r"(?s)digest.*" + re.escape(digest[:20])
    ):
        replace(from_file("tandem", "high-availability", digest), cached=False).files()


def test_no_image_can_be_pulled_by_the_placeholders_of_the_production_overlay() -> None:
    images = {one["image"] for each in kustomize.build(K8S / "overlays" / "production") for one in containers(each)}
    assert images == {f"registry.example.com/tandem/{service}@{PLACEHOLDER}" for service in ("order", "payment")}
    assert not [image for image in images if re.search(r"@[a-z0-9]+:[0-9a-fA-F]{32,}$", image)]


def test_no_file_has_a_digest_that_only_looks_like_one() -> None:
    found = [
        (path.relative_to(ROOT), digest)
        for folder in ("charts", "k8s", "docs", "ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in (".yaml", ".md", ".json", ".tpl")
        for digest in re.findall(r"sha256:([0-9a-f]{64})\b", path.read_text())
        if len(set(digest)) < 8 or digest.startswith("0123456789abcdef")
    ]
    assert not found
