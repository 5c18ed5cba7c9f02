"""The package stays a house in which a newcomer finds the right file."""

from __future__ import annotations

from pathlib import Path

import pytest

import airflow_synapse
import local_services

PACKAGE = Path(airflow_synapse.__file__).parent
SERVICES = Path(local_services.__file__).parent
MODULES = sorted([*PACKAGE.rglob("*.py"), *SERVICES.rglob("*.py")])
FOLDERS = sorted({module.parent for module in MODULES})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_folder_can_be_overseen(folder: Path) -> None:
    """A folder has at most a dozen modules."""
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]

    assert len(modules) <= 12


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.as_posix().rpartition("/")[2])
def test_module_can_be_read_in_one_go(module: Path) -> None:
    """A module has at most 400 lines, and says in its first line what it is for."""
    text = module.read_text("utf-8")

    assert text.count("\n") <= 400
    assert text.startswith(('"""', 'r"""'))
