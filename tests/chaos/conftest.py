"""How many seeds of random faults are tried."""

from __future__ import annotations

import os

import pytest  # noqa: TC002  # pytest looks at the annotations of its hooks

SEEDS = "CHAOS_SEEDS"
"""Environment variable: a number of seeds, or ``first-last``. Two by default."""

_SLOW_STEP = 5


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1) if last else range(int(first))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a ``seed`` once for each; those on Airflow, which are slow, for some."""
    if "seed" in metafunc.fixturenames:
        seeds = _seeds(os.environ.get(SEEDS, "2"))
        is_slow = "airflow" in metafunc.fixturenames
        metafunc.parametrize("seed", seeds[::_SLOW_STEP] if is_slow else seeds)
