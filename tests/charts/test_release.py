"""Publishing a release: what ci/release/publish builds, pushes and signs, and the release notes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from chassis import __version__
from ci import ROOT
from ci.release import notes, package

DIGEST = f"sha256:{'ab' * 32}"
REGISTRY = "registry.example.com/shop"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))


def test_the_notes_of_a_version_are_its_section_of_the_changelog() -> None:
    text = "# Changelog\n\n## [Unreleased]\n\n- x\n\n## [1.1.0] - 2026-01-02\n\n### Added\n\n- a\n\n## [1.0.0]\n\n- b\n"
    assert notes.section(text, "1.1.0") == "### Added\n\n- a"
    assert notes.section(text, "1.0.0") == "- b"
    for missing in ("1.2.0", "1x0.0"):
        with pytest.raises(ValueError, match="no section"):
            notes.section(text, missing)


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert notes.section((ROOT / "CHANGELOG.md").read_text(), __version__)


def values_of(archive: Path, member: str) -> dict[str, dict[str, str]]:
    """Return the values in a chart's archive."""
    with tarfile.open(archive) as opened:
        found = opened.extractfile(member)
        assert found is not None
        content: dict[str, dict[str, str]] = yaml.safe_load(found.read())
        return content


def test_published_charts_name_the_published_images_by_digest(tmp_path: Path) -> None:
    images = {service: f"{REGISTRY}/tandem/{service}@{DIGEST}" for service in ("order", "payment")}
    package.make(tmp_path / "dist", 1_000_000_000, images)
    for service in images:
        for archive, folder in ((service, ""), ("tandem", "tandem/charts/")):
            made = values_of(tmp_path / f"dist/{archive}-{__version__}.tgz", f"{folder}{service}/values.yaml")
            assert made["image"]["repository"] == f"{REGISTRY}/tandem/{service}"
            assert made["image"]["digest"] == DIGEST


def published(tmp_path: Path, **env: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run ci/release/publish in a clean copy with programs that record how they are called. Returns the calls too."""
    copy, programs, calls = tmp_path / "tandem", tmp_path / "bin", tmp_path / "calls"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists() and not (ROOT / name).is_dir() or (ROOT / name).is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "one"]):
        subprocess.run(["git", "-C", copy, *arguments], check=True)
    (copy / ".git" / "info" / "exclude").write_text(".venv\ndist\n")
    (copy / ".venv").symlink_to(ROOT / ".venv")
    programs.mkdir()
    for name, rest in (
        ("buildah", f'for a; do [ "$last" = --digestfile ] && echo {DIGEST} >"$a"; last=$a; done'),
        ("helm", f"echo Digest: {DIGEST}"),
        ("cosign", ""),
    ):
        (programs / name).write_text(f'#!/bin/bash\necho "{name} $*" >>"{calls}"\n{rest}\nexit 0\n')
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["ci/release/publish"],
        cwd=copy,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "IMAGE_BUILDER": "buildah", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_a_release_is_built_for_two_architectures_pushed_and_signed(tmp_path: Path) -> None:
    done, calls = published(tmp_path, REGISTRY=REGISTRY)
    assert done.returncode == 0, done.stderr
    builds = [call for call in calls if call.startswith("buildah build")]
    assert len(builds) == 2
    assert all("--platform linux/amd64,linux/arm64" in call for call in builds)
    pushed = [call.rpartition(" ")[2] for call in calls if call.startswith("buildah manifest push --all")]
    assert pushed == [f"docker://{REGISTRY}/tandem/{service}:{__version__}" for service in ("order", "payment")]
    charts = [call.split()[2:4] for call in calls if call.startswith("helm push")]
    assert charts == [
        [f"dist/{chart}-{__version__}.tgz", f"oci://{REGISTRY}/charts"] for chart in ("order", "payment", "tandem")
    ]
    signed = [call.rpartition(" ")[2] for call in calls if call.startswith("cosign sign")]
    assert signed == [
        *(f"{REGISTRY}/tandem/{service}@{DIGEST}" for service in ("order", "payment")),
        *(f"{REGISTRY}/charts/{chart}@{DIGEST}" for chart in ("order", "payment", "tandem")),
    ]
    text = (tmp_path / "tandem/dist/NOTES.md").read_text()
    assert notes.section((ROOT / "CHANGELOG.md").read_text(), __version__) in text
    assert all(f"    {name}" in text for name in signed)


def test_without_cosign_the_release_says_that_nothing_is_signed(tmp_path: Path) -> None:
    done, calls = published(tmp_path, REGISTRY=REGISTRY, COSIGN="none")
    assert done.returncode == 0, done.stderr
    assert "nothing is signed" in done.stderr
    assert not [call for call in calls if call.startswith("cosign")]


@pytest.mark.parametrize(("registry", "said"), [("", "REGISTRY must be"), ("tandem", "does not start with the name")])
def test_no_registry_is_guessed(registry: str, said: str) -> None:
    env = {**os.environ, "REGISTRY": registry}
    done = subprocess.run([ROOT / "ci/release/publish"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr


# --- GitHub Actions


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_scripts_and_make_targets_that_exist(path: Path) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    jobs = yaml.safe_load(path.read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        for script in re.findall(r"(?:^|\s)(\.?ci/\S+)", command):
            assert os.access(ROOT / script, os.X_OK), command
        for target in re.findall(r"\bmake (\S+)", command):
            assert target in targets, command


def test_the_workflows_run_what_ci_runs() -> None:
    text = (ROOT / ".github/workflows/ci.yaml").read_text()
    assert "run: .ci/run" in text
    assert "make e2e" in text
    assert "make e2e" in (ROOT / ".ci/run").read_text()
