"""Each generator and linter on each document, and each compiler on what was generated from all of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ci.generate.openapi import FOLDER
from tests.generators.report import Report, run
from tests.generators.tools import CACHE, ENVIRONMENT, HERE, Tools

OUT = CACHE / "out"
WORKERS = 2
# The languages of openapi-generator, and the options that give each document's client a name of its own.
LANGUAGES: dict[str, dict[str, object]] = {
    "typescript-fetch": {},
    "go": {"packageName": "{name}", "withGoMod": False},
    "java": {
        "invokerPackage": "tandem.{name}",
        "apiPackage": "tandem.{name}.api",
        "modelPackage": "tandem.{name}.model",
    },
    "python": {"packageName": "tandem_{name}"},
}


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name, with the groups of tools that it needs."""

    name: str
    needs: tuple[str, ...]
    action: Callable[[], object]


def documents() -> dict[str, Path]:
    """Return the documents by names that are identifiers: those of the requests and those of the webhooks."""
    return {path.stem.replace("-", "_"): path for path in sorted(FOLDER.glob("*.json"))}


def generate_and_compile(tools: Tools, report: Report) -> None:
    """Generate code from all documents and lint them, then compile the code."""
    shutil.rmtree(OUT, ignore_errors=True)
    for folder in ("openapi-typescript", "typescript-fetch", "go/oapi", "java", "python", "openapi-python-client"):
        (OUT / folder).mkdir(parents=True)
    run_all([_openapi_generator(tools), *_generators(tools), *_linters(tools)], tools, report)
    run_all(_compilers(tools), tools, report)


def run_all(checks: Iterable[Check], tools: Tools, report: Report) -> None:
    """Run the checks whose tools are installed, two at a time; skip the others."""

    def one(check: Check) -> None:
        missing = [tools.reasons[group] for group in check.needs if group not in tools.groups]
        if missing:
            report.skip(check.name, "; ".join(missing))
        else:
            report.check(check.name, check.action)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, checks))


def _openapi_generator(tools: Tools) -> Check:
    """All documents and languages in one process, since each start of Java takes seconds."""

    def generate() -> None:
        configurations = []
        for name, path in documents().items():
            for language, options in LANGUAGES.items():
                named = {key: v.format(name=name) if isinstance(v, str) else v for key, v in options.items()}
                # The generator for Python writes no valid client for webhooks. Receivers need the models only.
                models = {"models": "", "supportingFiles": ""} if "webhooks" in name and language == "python" else {}
                parts = dict.fromkeys(("apiTests", "modelTests", "apiDocs", "modelDocs"), "false") | models
                configuration = {
                    "inputSpec": str(path),
                    "generatorName": language,
                    "outputDir": str(OUT / language / name),
                    "additionalProperties": {**named, "hideGenerationTimestamp": True},
                    "globalProperties": parts,
                }
                file = OUT / f"{language}-{name}.json"
                file.write_text(json.dumps(configuration))
                configurations.append(file)
        batch = ["batch", "--fail-fast", "--threads", WORKERS, *configurations]
        run("java", "-jar", tools.openapi_generator, *batch, env=ENVIRONMENT)

    return Check(f"openapi-generator, {len(LANGUAGES)} languages, all documents", ("java",), generate)


def _generators(tools: Tools) -> Iterable[Check]:
    for name, path in documents().items():
        types = [tools.bin / "openapi-typescript", path, "--output", OUT / "openapi-typescript" / f"{name}.d.ts"]
        yield Check(f"openapi-typescript, {path.name}", ("node",), partial(run, *types, env=ENVIRONMENT))
        yield Check(f"oapi-codegen, {path.name}", ("go",), partial(_oapi_codegen, tools, name, path))
        target = OUT / "openapi-python-client" / name
        command = [tools.python, "-m", "openapi_python_client", "generate", "--path", path, "--output-path", target]
        options = ["--meta", "none", "--fail-on-warning"]
        environment = {**ENVIRONMENT, "PATH": f"{tools.python.parent}{os.pathsep}{os.environ['PATH']}"}  # it runs ruff
        generate = partial(run, *command, *options, env=environment)
        yield Check(f"openapi-python-client, {path.name}", ("python",), generate)


def _oapi_codegen(tools: Tools, name: str, path: Path) -> None:
    folder = OUT / "go" / "oapi" / name
    folder.mkdir()
    # Without skip-prune, the schemas of a document without paths would be left out.
    parts = "types,skip-prune" if name.endswith("webhooks") else "types,client"
    run(tools.oapi_codegen, "-generate", parts, "-package", name, "-o", folder / "api.go", path)


def _linters(tools: Tools) -> Iterable[Check]:
    for path in documents().values():
        redocly = [tools.bin / "redocly", "lint", "--config", HERE / "npm" / "redocly.yaml", path]
        yield Check(f"redocly lint, {path.name}", ("node",), partial(run, *redocly, env=ENVIRONMENT))
        spectral = [tools.bin / "spectral", "lint", "--ruleset", HERE / "npm" / "spectral.yaml", path]
        strictly = [*spectral, "--fail-severity", "warn"]
        yield Check(f"spectral lint, {path.name}", ("node",), partial(run, *strictly, env=ENVIRONMENT))


def _compilers(tools: Tools) -> Iterable[Check]:
    yield Check("tsc --strict of all TypeScript", ("node", "java"), partial(_tsc, tools))
    yield Check("go vet of all Go", ("go", "java"), _go_vet)
    yield Check("javac of all Java", ("java",), partial(_javac, tools))
    for folder, needs in {"python": ("python", "java"), "openapi-python-client": ("python",)}.items():
        yield Check(f"compileall and mypy, {folder}", needs, partial(_python, tools, OUT / folder))


def _tsc(tools: Tools) -> None:
    options = {"strict": True, "noEmit": True, "target": "es2022", "lib": ["es2022", "dom"], "module": "commonjs"}
    files = [*OUT.glob("typescript-fetch/*/index.ts"), *OUT.glob("openapi-typescript/*.d.ts")]
    settings = {"compilerOptions": {**options, "types": []}, "files": [str(file) for file in files]}
    (OUT / "tsconfig.json").write_text(json.dumps(settings))
    run(tools.bin / "tsc", "--project", OUT / "tsconfig.json")


def _go_vet() -> None:
    shutil.copytree(HERE / "go", OUT / "go", dirs_exist_ok=True)
    run("go", "vet", "./...", cwd=OUT / "go")


def _javac(tools: Tools) -> None:
    sources = OUT / "java" / "sources"
    files = [f'"{file}"' for file in OUT.glob("java/*/src/main/**/*.java")]
    sources.write_text("\n".join(files))
    path = os.pathsep.join(str(jar) for jar in tools.jars.iterdir() if jar != tools.openapi_generator)
    run("javac", "-nowarn", "-proc:none", "-d", OUT / "java" / "classes", "-classpath", path, f"@{sources}")


def _python(tools: Tools, folder: Path) -> None:
    run(tools.python, "-m", "compileall", "-q", folder)
    for package in sorted(folder.glob("*" if "client" in folder.name else "*/tandem_*")):
        run(tools.python, "-m", "mypy", package.name, cwd=package.parent)
