"""The plugin of the page "A plugin from nothing" does what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_synapse.local.validation import validate_plugin
from airflow_synapse.testing import run_action

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first_plugin.md").read_text()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "examples" / "ripeness", tmp_path / "ripeness"))


def test_page_shows_all_files_of_its_tree(plugin: Path) -> None:
    """The tree at the top names the files that the page then shows, and they are all of the plugin."""
    named = re.findall(r"[\w.]+\.\w+", PAGE.partition("```text\n")[2].partition("```")[0])
    shown = re.findall(r"literalinclude} \.\./examples/ripeness/(\S+)", PAGE)

    assert sorted(Path(file).name for file in shown) == sorted(named)
    assert sorted(shown) == sorted(
        str(path.relative_to(plugin)) for path in plugin.rglob("*.*") if path.suffix != ".pyc"
    )


def test_plugin_is_valid(plugin: Path) -> None:
    """``airflow ray validate`` finds nothing wrong with it."""
    assert {found.verdict for found in validate_plugin(plugin).findings} == {"ok"}


def test_action_runs(plugin: Path) -> None:
    """``airflow ray submit --local`` runs it."""
    assert run_action(plugin, "train", {"epochs": 5}).report.progress[""].done == 5


def test_tests_pass(plugin: Path) -> None:
    """The test file passes under pytest, as a user would run it."""
    path = os.pathsep.join(filter(None, [str(plugin), os.environ.get("PYTHONPATH", "")]))

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_train.py"],
        cwd=plugin,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout
