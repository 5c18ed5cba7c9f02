"""Environment variables that arrive as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import PluginManifestError, RayJobSubmissionError
from airflow_synapse.plugin.env_vars import check_values
from airflow_synapse.plugin.manifest import load_manifest
from airflow_synapse.rayjobs import RayJobExecutor

CHANGED = ["ab$HOME!x", "p${TOKEN}w", "${PATH}:/opt", "a$$b", "$_", "${lower}", "x ${0}"]


@pytest.mark.parametrize("value", CHANGED)
def test_value_that_ray_would_change_is_told_and_not_shown(value: str) -> None:
    """It may be a password."""
    executor = RayJobExecutor("http://head", env={"PASSWORD": value})

    with pytest.raises(PluginManifestError, match=r"env\.PASSWORD: the value has a \$") as caught:
        executor.prepare_entrypoint("true")

    assert value not in str(caught.value)


def test_value_of_a_manifest_is_told_with_its_file(tmp_path: Path) -> None:
    """Of both places the rule is the same."""
    (tmp_path / "config.yaml").write_text("name: p\nenv: {A: 'x$HOME'}\n")

    with pytest.raises(PluginManifestError, match=r"config\.yaml: the value of env\.A has a \$"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("value", CHANGED)
def test_value_of_a_runtime_env_is_ray_s(value: str) -> None:
    """Its env_vars expand variables, as Ray documents it."""
    job = RayJobExecutor("http://head").prepare_entrypoint(
        "true", runtime_env={"env_vars": {"A": value}}
    )

    assert job.spec.runtime_env["env_vars"] == {"A": value}


@given(st.text("aA1_${}x -", max_size=12))
def test_value_that_is_taken_arrives(value: str) -> None:
    """Ray expands what Python's expandvars does, and then deletes what is left of ${NAME}."""
    try:
        check_values({"A": value})
    except PluginManifestError:
        return
    names = re.findall(r"\$(\w+|\{[^}]*\})", value, re.ASCII)
    settable = [name for name in names if re.fullmatch(r"\{?[A-Za-z_]\w*\}?", name, re.ASCII)]

    assert not settable
    assert re.sub(r"\$\{[A-Z0-9_]+\}", "", value) == value


@pytest.mark.parametrize("name", ["1A", "A-B", "A.B", "é", "A B", "", "A=B"])
def test_name_that_a_shell_drops_is_told(tmp_path: Path, name: str) -> None:
    """In whatever place it stands."""
    (tmp_path / "config.yaml").write_text(f"name: p\nenv: {{{name!r}: x}}\n", encoding="utf-8")

    with pytest.raises(PluginManifestError, match="shells drop variables with this name"):
        RayJobExecutor("http://head", env={name: "x"}).prepare_entrypoint("true")
    with pytest.raises(RayJobSubmissionError, match="shells drop it"):
        RayJobExecutor("http://head").prepare_entrypoint(
            "true", runtime_env={"env_vars": {name: "x"}}
        )
    with pytest.raises(
        PluginManifestError, match="is not a valid name for an environment variable"
    ):
        load_manifest(tmp_path)


def test_value_that_is_no_unicode_is_told() -> None:
    """It could not be sent."""
    with pytest.raises(RayJobSubmissionError, match="shells drop it"):
        RayJobExecutor("http://head", env={"A": "\ud800"}).prepare_entrypoint("true")
