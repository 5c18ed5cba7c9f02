"""From a plugin folder to the layers of a runtime_env and the call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    PluginManifestError,
    PluginRequirementsError,
)
from airflow_synapse.plugin.action import (
    RUNTIME_ENTRYPOINT,
    action_runtime_files,
    build_runtime_env,
    call_document,
    find_action,
    needed_files,
)
from airflow_synapse.plugin.manifest import PluginManifest, load_manifest
from airflow_synapse.rayjobs.packing.runtime_env import merge_runtime_env

UPLOADED = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
WHEEL = "wheels/a-1-py3-none-any.whl"


def plugin(folder: Path, manifest: str = "", **files: str) -> PluginManifest:
    text = f"name: demo\nactions: {{train: {{entrypoint: 'a:b'}}}}\n{manifest}"
    (folder / "config.yaml").write_text(text)
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    return load_manifest(folder)


def with_wheel(folder: Path, content: bytes = b"") -> None:
    (folder / "wheels").mkdir(exist_ok=True)
    (folder / WHEEL).write_bytes(content)


def test_folder_without_requirements_installs_nothing(tmp_path):
    """No pip, so that Ray makes no environment for nothing."""
    assert merge_runtime_env(*build_runtime_env(plugin(tmp_path))) == {"working_dir": str(tmp_path)}


def test_requirements_and_env_of_a_plugin_reach_its_runtime_env(tmp_path):
    """What stands in the folder is what the job gets, by pip if nothing else is said."""
    manifest = plugin(tmp_path, "env: {A: 1, B: x}", requirements="numpy\n")

    env = merge_runtime_env(*build_runtime_env(manifest, env={"B": True, "C": 0.5, "D": None}))

    assert env == {
        "working_dir": str(tmp_path),
        "pip": {"packages": ["numpy"]},
        "env_vars": {"A": "1", "B": "true", "C": "0.5", "D": ""},
    }


def test_arguments_go_over_the_manifest(tmp_path):
    """The manifest gives the defaults, the caller the last word."""
    manifest = plugin(
        tmp_path,
        "package_manager: pip\npackage_manager_options: ['--no-deps']\n"
        "env: {A: 1}\nruntime_env: {env_vars: {A: 2, B: 2}, pip: [six], config: {x: 1}}\n",
        gpu="torch\n",
        requirements="numpy\n",
    )

    env = merge_runtime_env(
        *build_runtime_env(
            manifest,
            requirements_file="gpu.txt",
            package_manager_options=["--pre"],
            env={"B": "3"},
            runtime_env={"env_vars": {"C": "4"}, "config": {"y": 2}},
        )
    )

    assert env["pip"]["packages"] == ["torch", "six"]
    assert env["pip"]["pip_install_options"][-1] == "--pre"
    assert "--no-deps" not in env["pip"]["pip_install_options"]
    assert env["env_vars"] == {"A": "2", "B": "3", "C": "4"}
    assert env["config"] == {"x": 1, "y": 2}


def test_options_written_for_pip_are_not_given_to_uv(tmp_path):
    """Choosing another package manager drops the options of the manifest's."""
    manifest = plugin(tmp_path, "package_manager_options: ['--no-deps']", requirements="numpy\n")

    env = merge_runtime_env(*build_runtime_env(manifest, package_manager="uv"))

    assert env["uv"] == {"packages": ["numpy"]}
    assert "pip" not in env


def test_options_as_a_mapping_are_fields_of_ray(tmp_path):
    """A mapping says what goes where."""
    manifest = plugin(tmp_path, "package_manager_options: {pip_check: true}", requirements="a\n")

    (env, *_) = build_runtime_env(manifest)

    assert env["pip"] == {"packages": ["a"], "pip_check": True}


def test_wheels_are_installed_from_the_uploaded_folder(tmp_path):
    """Each wheel is a line, and packing must not leave it out."""
    with_wheel(tmp_path)

    env = merge_runtime_env(*build_runtime_env(plugin(tmp_path, requirements="numpy\n")))

    assert env["pip"]["packages"] == ["numpy", f"{UPLOADED}/{WHEEL}"]
    assert needed_files(env) == (WHEEL,)


def test_needed_files_are_named_as_they_are_packed():
    """However a line writes their path; the folder itself is an empty one."""
    lines = [f"{UPLOADED}/./libs/a/", f"-c {UPLOADED}/x/../c.txt", f"{UPLOADED}/.", UPLOADED]

    assert needed_files({"uv": {"packages": lines}}) == ("libs/a", "c.txt", "")


def test_wheels_dir_of_the_manifest_holds_unless_another_is_given(tmp_path):
    """The default name of the argument is no wish."""
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a-1-py3-none-any.whl").touch()
    manifest = plugin(tmp_path, "wheels_dir: mine")

    default = build_runtime_env(manifest, wheels_dir="wheels")[0]
    other = build_runtime_env(manifest, wheels_dir="other")[0]

    assert default["pip"]["packages"][0] == f"{UPLOADED}/mine/a-1-py3-none-any.whl"
    assert other["pip"]["packages"][0] == f"{UPLOADED}/other/a-1-py3-none-any.whl"


def test_requirements_file_named_in_a_runtime_env_is_read_here(tmp_path):
    """The cluster does not have the file that runtime_env.pip names."""
    manifest = plugin(tmp_path, "runtime_env: {pip: extra.txt}", extra="six\n")

    env = merge_runtime_env(*build_runtime_env(manifest, runtime_env={"pip": "extra.txt"}))

    assert env["pip"]["packages"] == ["six", "six"]


def test_requirements_file_that_is_not_there_is_told(tmp_path):
    """A name that leads nowhere is refused with where it was looked up."""
    with pytest.raises(PluginRequirementsError) as caught:
        build_runtime_env(plugin(tmp_path), requirements_file="no.txt")

    assert str(tmp_path / "no.txt") in str(caught.value)
    assert "looked up in the plugin folder" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"package_manager": "conda"}, "'conda' is neither"),
        ({"package_manager_options": "--pre"}, "'--pre' is a string"),
        ({"env": {"A": [1]}}, "env.A"),
    ],
)
def test_wrong_argument_is_told(tmp_path, arguments, told):
    """The error names the argument."""
    manifest = plugin(tmp_path, requirements="numpy\n")

    with pytest.raises(PluginManifestError, match=told):
        build_runtime_env(manifest, **arguments)


def test_without_a_folder_requirements_and_env_still_count(tmp_path):
    """A remote working_dir has no manifest here."""
    (tmp_path / "r.txt").write_text("numpy\n")

    env = merge_runtime_env(
        *build_runtime_env(None, requirements_file=tmp_path / "r.txt", env={"A": 1})
    )

    assert env == {"pip": {"packages": ["numpy"]}, "env_vars": {"A": "1"}}


def test_action_is_found_by_name_or_entrypoint(tmp_path):
    """What has a colon and is no action's name is an entrypoint."""
    manifest = plugin(tmp_path)

    assert find_action(manifest, "train").entrypoint == "a:b"
    assert find_action(manifest, "c.d:e").entrypoint == "c.d:e"
    assert find_action(None, "c.d:e").entrypoint == "c.d:e"


def test_action_that_is_neither_is_told(tmp_path):
    """The error names the plugin and what it has."""
    with pytest.raises(ActionNotFoundError, match=r"demo has no action 'c'.*train"):
        find_action(plugin(tmp_path), "c")
    with pytest.raises(ActionNotFoundError, match=r"s3://x\.zip has no action 'c'"):
        find_action(None, "c", plugin="s3://x.zip")


def test_call_is_one_json_document():
    """The runtime reads the params as they were encoded, whatever is in them."""
    params = {"a": 'x"; rm -rf $HOME', "b": [1, None]}

    call = call_document("a:b", json.dumps(params), action_name='tr"ain', plugin="p")

    assert json.loads(call) == {
        "entrypoint": "a:b",
        "action": 'tr"ain',
        "plugin": "p",
        "params": params,
    }


def test_runtime_is_shipped_with_its_call_under_its_own_name():
    """The command runs a module that the package brings."""
    files = action_runtime_files(b"{}")

    module = RUNTIME_ENTRYPOINT.removeprefix("python -m ")
    assert {f"{module}/__init__.py", f"{module}/__main__.py"} < files.keys()
    assert files[f"{module}/call.json"] == b"{}"
    assert all(name.startswith(f"{module}/") for name in files)
