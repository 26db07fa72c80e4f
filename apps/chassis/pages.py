"""Pages for people: what each problem type means and how to get out of it."""

from __future__ import annotations

from flask import Blueprint, render_template_string

from chassis.problems import CATALOGUE, Problem

blueprint = Blueprint("pages", __name__)

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ kind.title }}</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }</style>
<h1>{{ kind.title }}</h1>
<p><code>{{ name }}</code>, HTTP status {{ kind.status }}</p>
<h2>What to do</h2>
<p>{{ kind.cure }}</p>
</html>
"""


@blueprint.get("/problems/<name>")
def problem(name: str) -> str:
    """Explain a problem type; needs no key."""
    if name not in CATALOGUE:
        raise Problem("not-found", "There is no such problem type.")
    return render_template_string(_PAGE, name=name, kind=CATALOGUE[name])
