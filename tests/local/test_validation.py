"""What can be said about a plugin folder without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_synapse.local.validation import Validation, validate_plugin

CONFIG = "name: p\nversion: 1.0\nactions: {run: {entrypoint: 'pkg.m:run'}}\n"


def make(folder: Path, files: dict[str, str]) -> Validation:
    for name, text in {"config.yaml": CONFIG, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return validate_plugin(folder)


def verdicts(validation: Validation) -> dict[str, str]:
    return {finding.step: finding.verdict for finding in validation.findings}


def told(validation: Validation, step: str) -> str:
    return next(found.told for found in validation.findings if found.step == step)


def test_good_plugin_is_good(tmp_path: Path) -> None:
    """Every step is ok, and the files that would be sent are known."""
    files = {"pkg/m.py": "def run(): ...\n", "requirements.txt": "numpy>=1\n", "env": ""}

    found = make(tmp_path, files)

    assert set(verdicts(found).values()) == {"ok"}
    assert told(found, "manifest") == "p 1.0 has 1 action: run."
    assert told(found, "requirements") == "pip installs numpy>=1."
    assert ("pkg/m.py", 15) in found.files


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("from elsewhere import run\n", "ok"),
        ("run = make()\n", "ok"),
        ("if True:\n    def run(): ...\n", "ok"),
        ("class Other:\n    pass\n", "fail"),
        ("from elsewhere import *\n", "ok"),
        ("def run(:\n", "fail"),
    ],
)
def test_entrypoint_is_looked_for_in_the_source(tmp_path: Path, code: str, verdict: str) -> None:
    """The module is read, not imported: its requirements may not be installed here."""
    assert verdicts(make(tmp_path, {"pkg/m.py": code}))["action run"] == verdict


def test_module_that_is_not_in_the_folder_may_be_on_the_cluster(tmp_path: Path) -> None:
    """That is a warning; but a missing part of a package that is there is a failure."""
    assert verdicts(make(tmp_path, {}))["action run"] == "warn"
    assert verdicts(make(tmp_path, {"pkg/other.py": ""}))["action run"] == "fail"


def test_entrypoint_that_is_left_out_fails(tmp_path: Path) -> None:
    """A module that .gitignore keeps back would be missing in the job."""
    found = make(tmp_path, {"pkg/m.py": "def run(): ...\n", ".gitignore": "m.py\n"})

    assert verdicts(found)["action run"] == "fail"


def test_broken_manifest_ends_it(tmp_path: Path) -> None:
    """What needs the manifest is skipped, and the error says what is wrong with it."""
    found = make(tmp_path, {"config.yaml": "actions: 3\n"})

    assert verdicts(found) == {"manifest": "fail", "package": "skipped", "actions": "skipped"}


def test_refused_package_does_not_hide_other_findings(tmp_path: Path) -> None:
    """A secret in the folder fails the package, and actions are looked at all the same."""
    found = make(tmp_path, {"pkg/m.py": "def run(): ...\n", ".env": "A=1\n"})

    assert verdicts(found) == {"manifest": "ok", "package": "fail", "action run": "ok"}
