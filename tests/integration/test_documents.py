"""The commands, SQL and programs in the documents work when they are pasted, each block of each document.

They run in a folder that looks like the checkout of a reader whose `make run` is running. `kubectl` there runs the
command of a container on this machine.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ci import ROOT
from tests.support.documents import DOCUMENTS, Block, blocks
from tests.support.laptop import Laptop

# `kubectl exec deployment/tandem-order -c relay -- COMMAND`, with the settings of the local stack.
KUBECTL = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
[ "$1 $2 $3 $4 $5" = "env -u PROMETHEUS_MULTIPROC_DIR flask --app" ] || exit 64
shift 5
exec ./tandem-admin "$@"
"""
# Programs that run until they are stopped; tests of their own run them.
ENDLESS = {
    "docs/webhooks.md": ("docs/examples/webhook_receiver.py",),
    "docs/events.md": (
        "docs/examples/feed_consumer.py",
        "docs/examples/nats_consumer.py",
        "docs/examples/kafka_consumer.py",
    ),
}
ALL = [block for document in DOCUMENTS for block in blocks(document)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with a running Tandem. Its state directory is `.run`."""
    path = tmp_path_factory.mktemp("checkout")
    for name in ("apps", "ci", ".venv", "tandem", "tandem-admin", "docs", "requirements"):
        (path / name).symlink_to(ROOT / name)
    (path / "bin").mkdir()
    (path / "bin" / "kubectl").write_text(KUBECTL)
    (path / "bin" / "helm").write_text("#!/bin/sh\n")
    for program in (path / "bin").iterdir():
        program.chmod(0o755)
    laptop = Laptop.start(path / ".run")
    try:
        laptop.wait_until_ready()
        yield path
    finally:
        laptop.stop()


def shell(checkout: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run text as an interactive shell in which `. .run/env` was pasted before. It ends at the first failure."""
    return subprocess.run(
        ["bash", "-ec", '. .run/env\ncurl() { command curl --silent --show-error --fail-with-body "$@"; }\n' + text],
        cwd=checkout,
        env={
            "PATH": f"{checkout}/bin:{os.environ['PATH']}",
            "TANDEM_STATE": str(checkout / ".run"),
            "LANG": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def test_every_block_is_of_a_kind_that_the_tests_know() -> None:
    kinds = {str(block): block.kind for block in ALL}
    assert list(kinds.values()).count("shell") >= 15
    with pytest.raises(ValueError, match=r"README\.md:7: the block begins with nothing that is known: rm -rf"):
        _ = Block(ROOT / "README.md", 7, "rm -rf /", None).kind


def test_shell_blocks_work_as_pasted(checkout: Path) -> None:
    """All in one test, document by document, because they build on each other."""
    failed, variables = [], ""
    for document in DOCUMENTS:
        for block in blocks(document):
            programs = [each.text for each in blocks(document) if each.kind == "python"]
            if programs:
                (checkout / "example.py").write_text(programs[0])
            cluster = block.kind == "tools" and "./tandem-admin" in block.text
            if block.kind != "shell" and not cluster:
                continue
            if cluster:  # of the other commands in it, only the stubs can run here
                lines = block.text.replace("\\\n", " ").splitlines()
                block = replace(block, text="\n".join(line for line in lines if line.startswith("./tandem-admin")))
            if document.name == "laptop.md":
                continue  # it replaces the databases; the next test runs it, when the others are done
            done = shell(checkout, variables + block.commands)
            # A reader sets a variable once.
            variables += "".join(f"{line}\n" for line in block.commands.splitlines() if re.match(r"[A-Z]+=\S+$", line))
            if done.returncode != 0:
                failed.append(f"{block} ended with {done.returncode}:\n{block.text}\n{done.stdout[-1500:]}")
    assert not failed, "\n\n".join(failed)


def test_the_databases_can_be_moved_as_the_laptop_page_shows(checkout: Path) -> None:
    placed = "SELECT count(*) FROM orders"
    dump, load = (block for block in blocks(ROOT / "docs" / "laptop.md") if block.kind == "shell")
    env = dict(line.split("=", 1) for line in (checkout / ".run" / "env").read_text().splitlines() if "=" in line)
    with psycopg.connect(env["ORDER_MIGRATION_DATABASE_URL"]) as owner:
        before = owner.execute(placed).fetchone()
    for block in (dump, load):
        done = shell(checkout, block.commands)
        assert done.returncode == 0, f"{block}: {done.stdout}"
    with psycopg.connect(env["ORDER_MIGRATION_DATABASE_URL"]) as owner:
        assert owner.execute(placed).fetchone() == before
    # The next start does the same; without it, the services have no access.
    migrated = shell(checkout, "./tandem-admin order migrate && ./tandem-admin payment migrate")
    assert migrated.returncode == 0, migrated.stdout
    with psycopg.connect(env["ORDER_DATABASE_URL"]) as service:
        assert service.execute(placed).fetchone() == before


def test_sql_blocks_run_on_the_database_of_a_service(checkout: Path) -> None:
    env = dict(line.split("=", 1) for line in (checkout / ".run" / "env").read_text().splitlines() if "=" in line)
    ran = 0
    for block in (block for block in ALL if block.kind == "sql"):
        # A block may have a command after its SQL, behind an empty line.
        errors = []
        for service in ("ORDER", "PAYMENT"):
            with psycopg.connect(env[f"{service}_MIGRATION_DATABASE_URL"]) as connection:
                try:
                    connection.execute(block.text.partition("\n\n")[0].encode())
                    break
                except psycopg.Error as error:
                    errors.append(f"{block} on {service}: {error}")
        else:
            pytest.fail("\n".join(errors))
        ran += 1
    assert ran >= 8


def test_python_blocks_run_or_are_examples_with_tests_of_their_own(checkout: Path) -> None:
    for block in (block for block in ALL if block.kind == "python"):
        ast.parse(block.text)
        copies = ENDLESS.get(str(block.document.relative_to(ROOT)))
        if copies is not None:
            assert block.text.strip() in [(ROOT / copy).read_text().strip() for copy in copies], block
            continue
        (checkout / "block.py").write_text(block.text)
        done = shell(checkout, "PYTHONPATH=apps/client .venv/bin/python block.py")
        assert done.returncode == 0, f"{block}: {done.stdout}"


def test_the_tools_that_blocks_name_have_these_targets_and_files() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in (block for block in ALL if block.kind == "tools"):
        for target in re.findall(r"^(?:\w+=\S+ )*make ([a-z0-9-]+)", block.text, re.MULTILINE):
            assert target in targets, f"{block}: make {target}"
        for path in re.findall(r"(?<![\w./-])(?:ci|charts|k8s|tests)/[\w./-]*\w", block.text):
            assert (ROOT / path).exists(), f"{block}: {path}"


def test_nothing_says_to_scale_by_kubectl() -> None:
    """Helm 4 would stop at the next upgrade (docs/production.md, Upgrades and rollback)."""
    for block in ALL:
        assert "kubectl scale" not in block.text, block
