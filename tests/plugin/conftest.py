"""What tests of functions have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.dag_file import DagFile


@pytest.fixture
def dag_file(tmp_path: Path) -> DagFile:
    return DagFile(tmp_path / "dag_file.py")
