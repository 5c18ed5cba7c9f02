"""Counts as people write them."""

from __future__ import annotations

import pytest

from airflow_synapse.plurals import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs")])
def test_noun_agrees_with_its_number(number: int, text: str) -> None:
    """Only one thing is named in the singular."""
    assert counted(number, "job") == text
