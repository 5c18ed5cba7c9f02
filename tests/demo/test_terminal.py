"""A person's own terminal can be used with the demo's Airflow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo.terminal import activate_script, activating

ENV = {
    "PATH": "/opt/demo's venv/bin:/usr/bin",
    "AIRFLOW_HOME": "/tmp/airflow-1",
    "AIRFLOW__CORE__FERNET_KEY": "a $key with 'quotes'",
    "SECRET_OF_THE_SHELL": "s3cret",
}
SHELLS = [shell for shell in ("sh", "bash", "zsh") if shutil.which(shell)]


@pytest.fixture
def airflow(tmp_path: Path) -> Any:
    home = tmp_path / "airflow"
    home.mkdir()
    return SimpleNamespace(home=home, env=ENV)


@pytest.mark.parametrize("shell", SHELLS)
def test_terminal_becomes_the_demo_s(shell: str, airflow: Any, tmp_path: Path) -> None:
    """A shell that sources the script has the deployment's variables and programs, and no other Airflow's."""
    stranger = {"AIRFLOW_CONN_RAY_DEFAULT": "ray://production:8265", "PATH": "/usr/bin:/bin"}

    with activate_script(airflow, tmp_path / "out" / "activate") as link:
        done = subprocess.run(
            [shell, "-c", f". '{link}'; env"],
            env=stranger, capture_output=True, text=True, check=True,
        )  # fmt: skip

    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert seen["PATH"] == "/opt/demo's venv/bin:/usr/bin:/bin"
    assert {name: value for name, value in seen.items() if name.startswith("AIRFLOW")} == {
        "AIRFLOW_HOME": "/tmp/airflow-1",
        "AIRFLOW__CORE__FERNET_KEY": "a $key with 'quotes'",
    }
    assert done.stderr == ""


def test_script_leaves_out_what_is_not_airflow_s() -> None:
    """What else the demo happened to be started with is not written down."""
    assert "s3cret" not in activating(ENV)


def test_script_is_gone_with_the_demo(airflow: Any, tmp_path: Path) -> None:
    """A dead demo leaves no link, and takes none away that another demo has put there."""
    link = tmp_path / "activate"
    other = tmp_path / "other"

    with activate_script(airflow, link):
        assert link.resolve() == airflow.home / "activate"
    assert not link.is_symlink()

    with activate_script(airflow, link):
        link.unlink()
        link.symlink_to(other)
    assert link.readlink() == other
