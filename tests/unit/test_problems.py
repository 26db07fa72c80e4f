"""Every problem that a source names is in the catalogue of the application that would answer with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import chassis
import order.problems
import payment.problems
from chassis.http.generic_problems import GENERIC, name_for, with_own
from chassis.http.problems import Catalogue, Kind, Problem, render

APPS = Path(chassis.__file__).parent.parent
CATALOGUES: Mapping[str, Catalogue] = {
    "chassis": GENERIC,
    "order": order.problems.CATALOGUE,
    "payment": payment.problems.CATALOGUE,
}
NAME = re.compile(r"[a-z]+(?:-[a-z]+)*")
# In docstrings: Problem `a`, and the rest of a list such as Problem `a`, `b` or `c`.
DOCUMENTED = re.compile(r"Problem (`[a-z-]+`(?:,?\s(?:or |and )?`[a-z-]+`)*)")
# Calls whose first arguments name problems: those that raise one, and the decorator that documents them.
CALLS = {"Problem", "Refusal", "_at", "_found", "_refuse", "facts"}


def named(tree: ast.AST) -> Iterator[str]:
    """The names of problems that a module raises or documents."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in CALLS:
                given = node.args if called == "facts" else node.args[:2]
                strings = [each.value for each in given if isinstance(each, ast.Constant)]
                yield from (each for each in strings if isinstance(each, str) and NAME.fullmatch(each))
        if isinstance(node, ast.Tuple) and len(node.elts) == 3:  # the worker's table: an exception, a name, a detail
            kind, name, _ = node.elts
            if isinstance(kind, ast.Attribute) and isinstance(name, ast.Constant):
                yield str(name.value)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            for names in DOCUMENTED.findall(ast.get_docstring(node) or ""):
                yield from re.findall(r"`([a-z-]+)`", names)


def test_a_name_is_found_wherever_a_source_has_it() -> None:
    source = '''
@facts("a", "b", waits=True)
def view():
    """Raises Problem `c`, `d` or `e-f`."""
    raise Problem("g", "Some detail.")
TABLE = ((errors.Some, "h-i", "Some detail."),)
'''
    assert set(named(ast.parse(source))) == {"a", "b", "c", "d", "e-f", "g", "h-i"}


@pytest.mark.parametrize(("package", "catalogue"), CATALOGUES.items())
def test_every_problem_that_a_source_names_is_in_the_catalogue(package: str, catalogue: Catalogue) -> None:
    found = {
        (str(path.relative_to(APPS)), name)
        for path in (APPS / package).rglob("*.py")
        for name in named(ast.parse(path.read_text()))
    }
    assert len({name for _, name in found}) >= 8
    assert [(path, name) for path, name in sorted(found) if name not in catalogue] == []


@pytest.mark.parametrize(("package", "catalogue"), [*CATALOGUES.items()][1:])
def test_every_problem_of_a_service_is_named_in_its_sources(package: str, catalogue: Catalogue) -> None:
    sources = [path.read_text() for path in (APPS / package).rglob("*.py") if path.name != "problems.py"]
    assert [
        name for name in catalogue.keys() - GENERIC.keys() if not any(f'"{name}"' in text for text in sources)
    ] == []


def test_a_problem_that_both_services_know_is_the_same_in_both() -> None:
    orders, payments = order.problems.CATALOGUE, payment.problems.CATALOGUE
    assert {name for name in orders.keys() & payments.keys() if orders[name] != payments[name]} == set()


def test_a_service_cannot_redefine_a_generic_problem() -> None:
    with pytest.raises(ValueError, match="not-found"):
        with_own({"not-found": Kind(404, "Mine", "Nothing.", "No reason.")})


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_has_a_generic_problem(status: int) -> None:
    kind = GENERIC[name_for(status)]
    assert kind.status // 100 == status // 100


def test_a_rendered_problem_has_the_title_and_status_of_the_catalogue() -> None:
    problem = Problem("validation", "1 field is not valid.", [{"pointer": "/a", "detail": "Bad."}], {"X-More": "1"})
    rendered = render(problem, GENERIC, base="https://shop.example", instance="/v1/things", request_id="r-1")
    assert (rendered.status, rendered.headers) == (
        422,
        {"Content-Type": "application/problem+json", "X-More": "1"},
    )
    assert rendered.body == (
        b'{"type":"https://shop.example/problems/validation","title":"The request is not valid","status":422,'
        b'"detail":"1 field is not valid.","instance":"/v1/things","request_id":"r-1",'
        b'"errors":[{"pointer":"/a","detail":"Bad."}]}'
    )
