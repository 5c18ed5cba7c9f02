"""A plugin's own wheels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from airflow_synapse.exceptions import PluginManifestError
from airflow_synapse.plugin.wheels import find_wheels, wheel_lines

UPLOADED = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"


def wheels(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_wheels_are_found_in_order_and_named_where_ray_unpacks_them(tmp_path):
    """Only wheels count, each by its path in the uploaded folder."""
    wheels(tmp_path / "wheels", "b-1-py3-none-any.whl", "a-1-py3-none-any.whl", "README.md")

    found = find_wheels(tmp_path)

    assert found == ("wheels/a-1-py3-none-any.whl", "wheels/b-1-py3-none-any.whl")
    assert wheel_lines(found) == tuple(f"{UPLOADED}/{name}" for name in found)


def test_of_several_builds_of_one_version_pip_chooses(tmp_path):
    """A wheel for another Python is not an error on the cluster."""
    names = ("a-1.0-cp311-cp311-linux_x86_64.whl", "a-1.0-cp312-cp312-linux_x86_64.whl")
    wheels(tmp_path / "dist" / "whl", *names)

    lines = wheel_lines(find_wheels(tmp_path, "dist/whl"))

    assert lines == (f"--find-links {UPLOADED}/dist/whl", "a==1.0")


def test_wheels_have_their_hashes_where_each_line_needs_one(tmp_path):
    """Of several builds, all: pip takes the one that it has chosen if it is among them."""
    wheels(tmp_path / "wheels", "a-1-py3-none-any.whl")
    for build in ("b-1-cp311-cp311-linux_x86_64.whl", "b-1-cp312-cp312-linux_x86_64.whl"):
        (tmp_path / "wheels" / build).write_text(build)
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((tmp_path / "wheels").iterdir())
    }

    lines = wheel_lines(find_wheels(tmp_path), hashed_in=tmp_path)

    one, *others = (f"--hash=sha256:{digests[name]}" for name in sorted(digests))
    assert lines == (
        f"{UPLOADED}/wheels/a-1-py3-none-any.whl {one}",
        f"--find-links {UPLOADED}/wheels",
        f"b==1 {' '.join(others)}",
    )


def test_no_wheels_folder_is_no_wheels(tmp_path):
    """A plugin needs no wheels."""
    assert find_wheels(tmp_path) == ()


def test_wheels_folder_that_was_named_has_to_be_there(tmp_path):
    """A typo in wheels_dir is not taken for no wheels."""
    with pytest.raises(PluginManifestError, match="'weels' is not a folder"):
        find_wheels(tmp_path, "weels")


@pytest.mark.parametrize("wheels_dir", ["../x", "/x", "wheels/../../x"])
def test_wheels_folder_outside_the_plugin_is_refused(tmp_path, wheels_dir):
    """What is outside is not uploaded."""
    wheels(tmp_path / "x", "a-1-py3-none-any.whl")

    with pytest.raises(PluginManifestError, match="not inside the plugin folder"):
        find_wheels(wheels(tmp_path / "plugin"), wheels_dir)


def test_wheel_with_an_impossible_name_is_refused(tmp_path):
    """pip on the cluster would refuse it after minutes."""
    wheels(tmp_path / "wheels", "mine.whl")

    with pytest.raises(PluginManifestError, match=r"mine\.whl: this is not a valid wheel name"):
        find_wheels(tmp_path)
