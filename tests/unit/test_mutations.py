"""Every mutation of tests.chaos.mutants changes code that is there."""

from __future__ import annotations

import pytest

from ci import ROOT
from tests.chaos.mutants import MUTATIONS, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_code_that_is_there(mutation: Mutation) -> None:
    for file, changed in mutation.changed(ROOT).items():
        assert changed != file.read_text()
        compile(changed, file, "exec")
    for test in mutation.tests:
        assert (ROOT / test.partition("::")[0]).exists()


def test_mutations_have_different_names() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


def test_the_document_lists_every_mutation() -> None:
    document = (ROOT / "docs" / "correctness.md").read_text()
    assert [each.name for each in MUTATIONS if f"| {each.name} | {each.breaks} | " not in document] == []
