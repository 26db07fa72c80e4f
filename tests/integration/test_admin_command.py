"""`./tandem-admin` runs the services' commands in a checkout, in a container and in a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci import ROOT
from tests.support.laptop import Laptop, running


def run(
    *arguments: str, script: Path = ROOT / "tandem-admin", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"], **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with running(tmp_path_factory.mktemp("laptop")) as laptop:
        yield laptop.wait_until_ready()


def test_commands_use_what_make_run_has_started(laptop: Laptop) -> None:
    state = {"TANDEM_STATE": str(laptop.state)}
    for service in ("order", "payment"):
        done = run(service, "reconcile", "--since", "2020-01-01", "--until", "2100-01-01", env=state)
        assert (done.returncode, "no differences" in done.stdout) == (0, True), done.stdout
        assert "captured  " in done.stdout, "the first order was compared"
    made = run("order", "keys", "create", "--merchant", "demo", "--scope", "orders:read", env=state)
    assert made.returncode == 0, made.stdout
    assert run("order", "keys", "list", env=state).stdout.count("demo") >= 1
    assert run("order", "webhooks", "dead", env=state).returncode == 0
    assert run("payment", "resync", "--since", "2020-01-01", env=state).returncode == 0
    assert run("order", "migrate", env=state).returncode == 0


def test_without_a_running_tandem_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("order", "reconcile", env={"TANDEM_STATE": str(tmp_path)})
    assert (done.returncode, done.stdout) == (
        2,
        "tandem-admin: Tandem does not run here: start it with make run in another terminal (or use --cluster)\n",
    )


@pytest.mark.parametrize("arguments", [(), ("both", "reconcile"), ("--release",), ("-n", "shop"), ("--help",)])
def test_a_wrong_call_shows_the_usage(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout.startswith("Usage: tandem-admin")


def stub(folder: Path, name: str) -> Path:
    """Put a program into a folder that prints its arguments, one a line, and exits with 3."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\nexit 3\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--cluster"], ["exec", "deployment/tandem-order", "-c", "relay"]),
        (["-n", "shop"], ["--namespace", "shop", "exec", "deployment/tandem-order", "-c", "relay"]),
        (
            ["--context", "a b", "--release", "pay"],
            ["--context", "a b", "exec", "deployment/pay-order", "-c", "relay"],
        ),
    ],
)
def test_in_a_cluster_it_runs_the_command_in_the_relay(tmp_path: Path, options: list[str], expected: list[str]) -> None:
    path = f"{stub(tmp_path / 'bin', 'kubectl')}:{os.environ['PATH']}"
    done = run(*options, "order", "keys", "create", "--name", "web shop", env={"PATH": path})
    without_metrics = ["--", "env", "-u", "PROMETHEUS_MULTIPROC_DIR"]
    words = ["flask", "--app", "order", "keys", "create", "--name", "web shop"]
    assert done.stdout.splitlines() == [*expected, *without_metrics, *words]
    assert done.returncode == 3, "the exit status is that of the command"


def test_in_a_container_it_runs_the_command_of_the_service_there(tmp_path: Path) -> None:
    script = tmp_path / "tandem-admin"
    # In the image, the code is in /app; a test cannot create that.
    script.write_text((ROOT / "tandem-admin").read_text().replace("/app/", f"{tmp_path}/app/"))
    shutil.copymode(ROOT / "tandem-admin", script)
    (tmp_path / "app" / "order").mkdir(parents=True)
    path = f"{stub(tmp_path / 'bin', 'flask')}:{os.environ['PATH']}"
    done = run("order", "reconcile", script=script, env={"PATH": path})
    assert done.stdout.splitlines() == ["--app", "order", "reconcile"]
    other = run("payment", "reconcile", script=script, env={"PATH": path})
    assert (other.returncode, "no container of payment" in other.stdout) == (2, True)


def test_in_a_container_the_command_leaves_no_metrics(tmp_path: Path) -> None:
    """They would be added to those of the pod, also when the command has ended."""
    script = tmp_path / "tandem-admin"
    script.write_text((ROOT / "tandem-admin").read_text().replace("/app/", f"{tmp_path}/app/"))
    shutil.copymode(ROOT / "tandem-admin", script)
    (tmp_path / "app" / "order").mkdir(parents=True)
    flask = stub(tmp_path / "bin", "flask") / "flask"
    flask.write_text("#!/bin/sh\nenv\n")
    env = {"PATH": f"{flask.parent}:{os.environ['PATH']}", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    seen = run("order", "reconcile", script=script, env=env).stdout.splitlines()
    assert f"PATH={env['PATH']}" in seen
    assert [line for line in seen if line.startswith("PROMETHEUS_MULTIPROC_DIR=")] == []


@pytest.mark.parametrize("service", ["order", "payment"])
def test_the_images_have_it(service: str) -> None:
    assert "COPY tandem-admin /usr/local/bin/tandem-admin\n" in (ROOT / f"Dockerfile.{service}").read_text()
    assert "!tandem-admin\n" in (ROOT / ".dockerignore").read_text()
    assert os.access(ROOT / "tandem-admin", os.X_OK)
