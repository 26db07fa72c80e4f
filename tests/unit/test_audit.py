"""The exit status of `make audit` says what was checked and whether something was found."""

from __future__ import annotations

import pytest

from ci import audit
from ci.audit import Result


@pytest.mark.parametrize(
    ("results", "optional", "status"),
    [
        ((Result.CLEAN, Result.CLEAN, Result.CLEAN), False, 0),
        ((Result.CLEAN, Result.UNCHECKED, Result.CLEAN), False, 3),
        ((Result.CLEAN, Result.UNCHECKED, Result.CLEAN), True, 0),
        ((Result.FOUND, Result.UNCHECKED, Result.CLEAN), True, 1),
        ((Result.CLEAN, Result.FOUND, Result.CLEAN), False, 1),
        ((Result.CLEAN, Result.UNCHECKED, Result.FOUND), False, 1),
    ],
)
def test_the_exit_status_says_what_was_checked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    results: tuple[Result, Result, Result],
    optional: bool,
    status: int,
) -> None:
    for name, result in zip(("sources", "dependencies", "attacks"), results, strict=True):
        monkeypatch.setattr(audit, name, lambda result=result: result)
    if optional:
        monkeypatch.setenv("AUDIT_ADVISORIES", "optional")
    else:
        monkeypatch.delenv("AUDIT_ADVISORIES", raising=False)
    assert audit.main() == status
    said = capsys.readouterr().out
    assert f"bandit: {results[0]}, pip-audit: {results[1]}, tests: {results[2]}" in said


@pytest.mark.parametrize(
    ("answers", "result", "said"),
    [
        ({"pypi": (3, 0, []), "osv": (0, 3, [])}, Result.CLEAN, "3 packages, 0 vulnerabilities"),
        ({"pypi": (0, 3, []), "osv": (0, 3, [])}, Result.UNCHECKED, "NOT AUDITED: 3 of 3"),
        ({"pypi": (2, 1, ["one 1.0: PYSEC-1"]), "osv": (0, 3, [])}, Result.FOUND, "VULNERABLE one 1.0: PYSEC-1"),
    ],
)
def test_packages_without_advisories_are_not_taken_for_checked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, tuple[int, int, list[str]]],
    result: Result,
    said: str,
) -> None:
    monkeypatch.setattr(audit, "_audited", lambda path, service: answers[service])
    assert audit.dependencies() == result
    assert said in capsys.readouterr().out
