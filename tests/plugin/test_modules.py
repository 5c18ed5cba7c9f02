"""Modules of a plugin folder by name."""

from __future__ import annotations

import subprocess
import sys

from airflow_synapse.plugin.modules import NEEDED_BY_RAY, hidden_modules, module_files


def test_module_is_a_package_or_a_file() -> None:
    """In the order in which Python looks."""
    assert module_files("a.b:c") == ("a/b/__init__.py", "a/b.py")


def test_only_modules_at_the_top_hide_others() -> None:
    """A folder without ``__init__.py`` comes after Python's own."""
    files = ["cmd.py", "json/__init__.py", "json/x.py", "a/json.py", "test.py", "mine.py", "sys.py"]

    assert list(hidden_modules(files)) == [("cmd.py", "cmd"), ("json/__init__.py", "json")]


def test_ray_needs_what_we_say() -> None:
    """A plugin is refused for these names, so none of them may be wrong."""
    code = (
        "import sys, ray.job_submission; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert set(loaded) >= NEEDED_BY_RAY - set(sys.builtin_module_names)
