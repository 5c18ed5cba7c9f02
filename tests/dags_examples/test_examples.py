"""The examples can be read by Airflow, and each is shown in the docs and run by a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

try:  # Airflow 3.2 moved it
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "dags_examples").glob("*.py"))
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_the_dag_it_is_named_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow reads the file without an error or a warning, and finds the DAG of this name."""
    # One of Airflow's own examples is a listener, which forbids tasks that end in the triggerer.
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

    bag = DagBag(path)

    assert bag.import_errors == {}
    assert not any(bag.captured_warnings.values())
    assert path.stem in bag.dags
    assert all(name.startswith(f"{path.stem}_") for name in bag.dags if name != path.stem)


@pytest.mark.parametrize("path", [*EXAMPLES, *SCRIPTS], ids=lambda path: path.stem)
def test_example_is_told_shown_and_run(path: Path) -> None:
    """Each has a docstring, is included by a page of the docs, and is run by a test."""
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    kinds = (ROOT / "tests" / "system", ROOT / "tests" / "contract")
    tests = "\n".join(test.read_text() for kind in kinds for test in kind.glob("test_*.py"))

    assert ast.get_docstring(ast.parse(path.read_text()))
    assert f"/{path.name}\n" in pages
    assert f'"{path.stem}"' in tests or f'"{path.name}"' in tests
