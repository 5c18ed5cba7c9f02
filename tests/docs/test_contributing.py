"""What CONTRIBUTING.md says about the code is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_pages import ROOT, blocks, quoted

PACKAGE = ROOT / "airflow_synapse"
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def rows(first: str, columns: int) -> list[list[str]]:
    """The rows of all tables with this first heading and so many columns."""
    found: list[list[str]] = []
    is_inside = False
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(f"| {first} |"):
            is_inside = len(cells) == columns
        elif not line.startswith("|"):
            is_inside = False
        elif is_inside and not line.startswith("|-"):
            found.append(cells)
    return found


ROOMS = rows("folder", columns=3)
LEANED_ON = rows("what", columns=4)


def test_every_folder_is_in_the_map() -> None:
    """The map names all folders of the package that hold modules, and no others."""
    folders = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*/__init__.py")}
    told = [Path(quoted(folder)[0]) for folder, *_ in ROOMS]

    assert sorted(told) == sorted(folders)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room[0])
def test_files_that_the_map_points_to_are_there(room: list[str]) -> None:
    """A module named beside a folder is in that folder."""
    folder = PACKAGE / quoted(room[0])[0]
    named = [word for word in quoted(room[2]) if word.endswith(".py")]

    assert [name for name in named if not (folder / name).exists()] == []


def test_order_of_imports_is_the_contract() -> None:
    """The order of the rooms is the one that import-linter checks."""
    project = (ROOT / "pyproject.toml").read_text()
    contracts = [
        re.findall(r'"(.+?)"', layers)
        for layers in re.findall(r"^layers = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    ]

    assert [block.splitlines() for block in blocks(TEXT, "text")] == contracts


@pytest.mark.parametrize("row", LEANED_ON, ids=lambda row: row[0])
def test_what_we_lean_on_is_where_the_table_says(row: list[str]) -> None:
    """Each name of another package's internals still stands in the file that is given for it."""
    what, where, why, until = row
    names = [name for name in quoted(where) if name.endswith((".py", ".toml"))]
    paths = [ROOT / name if name == "pyproject.toml" else PACKAGE / name for name in names]
    text = "".join(path.read_text() for path in paths)
    words = [max(re.findall(r"\w+", name), key=len, default="") for name in quoted(what)]

    assert paths
    assert why
    assert until
    assert [word for word in words if word not in text] == []
