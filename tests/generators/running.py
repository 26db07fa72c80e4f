"""Generated clients place, read, list and refund on running services."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ci.laptop.postgres import Postgres
from tests.generators.checks import OUT, Check, run_all
from tests.generators.report import Report, run
from tests.generators.tools import ENVIRONMENT, HERE, Tools
from tests.support.databases import Databases
from tests.support.settings import KEY
from tests.support.stack import Stack

SECONDS = 120.0  # for one journey, with its compilation


def journeys(tools: Tools, report: Report) -> None:
    """Start both services, and run the journeys of three clients on them."""
    with tempfile.TemporaryDirectory(prefix="tandem-generators-") as name:
        folder = Path(name)
        with Postgres(folder / "postgres", durable=False) as server:
            databases = Databases.create(server)
            databases.migrate()
            with Stack(databases, folder) as stack:
                urls = {"ORDER_URL": stack.order.url, "PAYMENT_URL": stack.payment.url, "API_KEY": KEY}
                run_all(_journeys(tools, ENVIRONMENT | urls), tools, report)


def _journeys(tools: Tools, environment: dict[str, str]) -> Iterable[Check]:
    yield Check("journey, openapi-generator's Python", ("java", "python"), partial(_python, tools, environment))
    yield Check("journey, openapi-generator's TypeScript", ("java", "node"), partial(_node, tools, environment))
    yield Check("journey, oapi-codegen's Go", ("go",), partial(_go, environment))


def _python(tools: Tools, environment: dict[str, str]) -> None:
    path = ":".join(str(OUT / "python" / name) for name in ("order", "payment"))
    journey = HERE / "journeys" / "journey.py"
    checked = {**environment, "MYPYPATH": path}
    # The generated modules have types, but not on each function. They are checked as they are meant to be, in `checks`.
    strict = ("--strict", "--follow-imports", "silent")
    run(tools.python, "-m", "mypy", *strict, journey, cwd=OUT / "python", env=checked, timeout=SECONDS)
    run(tools.python, journey, env={**environment, "PYTHONPATH": path}, timeout=SECONDS)


def _node(tools: Tools, environment: dict[str, str]) -> None:
    folder = OUT / "journeys"
    folder.mkdir()
    shutil.copy(HERE / "journeys" / "journey.ts", folder)
    options = {
        "strict": True,
        "target": "es2022",
        "lib": ["es2022", "dom"],
        "module": "commonjs",
        "types": [],
        "rootDir": str(OUT),
        "outDir": str(folder / "compiled"),
    }
    settings = {"compilerOptions": options, "files": ["journey.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(settings))
    run(tools.bin / "tsc", "--project", folder / "tsconfig.json", timeout=SECONDS)
    run("node", folder / "compiled" / "journeys" / "journey.js", env=environment, timeout=SECONDS)


def _go(environment: dict[str, str]) -> None:
    run("go", "run", "./journey", cwd=OUT / "go", env=environment, timeout=SECONDS)
