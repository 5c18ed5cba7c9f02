"""Folders and files as packages for Ray."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from pathlib import Path

import pytest

from airflow_synapse.exceptions import PluginManifestError, RayJobSubmissionError
from airflow_synapse.rayjobs.packing import packages
from airflow_synapse.rayjobs.packing.packages import (
    MAX_PACKAGE_BYTES,
    build_directory_package,
    build_files_package,
)


def tree(folder: Path, **files: str) -> Path:
    """Make files; in their names __ stands for / and _dot_ for a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def names(package: packages.Package) -> list[str]:
    with package.zipped() as path, zipfile.ZipFile(path) as archive:
        return archive.namelist()


def packed(folder: Path, **arguments: object) -> list[str]:
    return names(build_directory_package(folder, **arguments))


def test_zip_holds_the_folder_s_content_in_order(tmp_path):
    """As Ray unpacks it: no folder around it, empty folders kept, programs still programs."""
    folder = tree(tmp_path, run_dot_sh="#!", a__b_dot_py="x" * 3_000_000, a__c_dot_txt="é")
    (folder / "run.sh").chmod(0o744)
    (folder / "empty").mkdir()

    package = build_directory_package(folder)

    assert re.fullmatch(r"gcs://_ray_pkg_[0-9a-f]{40}\.zip", package.uri)
    assert package.name == package.uri.removeprefix("gcs://")
    assert package.size == 3_000_004
    with package.zipped() as path, zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a/b.py", "a/c.txt", "empty/", "run.sh"]
        assert archive.read("a/c.txt").decode() == "é"
        assert len(archive.read("a/b.py")) == 3_000_000
        modes = {i.filename: stat.S_IMODE(i.external_attr >> 16) for i in archive.infolist()}
        assert archive.testzip() is None
    assert modes == {"a/b.py": 0o644, "a/c.txt": 0o644, "empty/": 0o755, "run.sh": 0o755}
    assert not path.exists()


def test_same_content_has_the_same_uri_and_bytes(tmp_path):
    """Times, umask and the order of creation don't count."""
    one = tree(tmp_path / "one", a="1", b="2")
    two = tree(tmp_path / "two", b="2", a="1")
    os.utime(two / "a", (1, 1))
    (two / "b").chmod(0o600)

    first, second = build_directory_package(one), build_directory_package(two)

    assert first.uri == second.uri
    with first.zipped() as left, second.zipped() as right:
        assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a").write_text("2"),
        lambda folder: (folder / "a").rename(folder / "c"),
        lambda folder: (folder / "a").chmod(0o755),
        lambda folder: (folder / "d").mkdir(),
        lambda folder: (folder / "a").rename(folder / "b" / "a"),
        lambda folder: tree(folder, a="1x", b__x=""),
    ],
)
def test_any_change_of_content_changes_the_uri(tmp_path, change):
    """Ray never runs old code under a new package's name."""
    folder = tree(tmp_path, a="1", b__x="x")
    before = build_directory_package(folder).uri

    change(folder)

    assert build_directory_package(folder).uri != before


def test_ignore_files_count_at_every_level(tmp_path):
    """As git has it: the deeper file has the last word, and .rayignore over .gitignore."""
    folder = tree(
        tmp_path,
        _dot_gitignore="*.log\n/build/\n*.whl\n!keep.log\n",
        _dot_rayignore="data/\n!*.whl\n",
        a_dot_log="", keep_dot_log="", x_dot_whl="", build__x="", sub__build__x="", data__x="",
        sub___dot_gitignore="!deep.log\n/only-here\n",
        sub__deep_dot_log="", sub__other_dot_log="",
    )  # fmt: skip
    tree(folder / "sub" / "only-here", x="")
    tree(folder / "only-here", x="")

    assert packed(folder) == [
        ".gitignore", ".rayignore", "keep.log", "only-here/x", "sub/.gitignore",
        "sub/build/x", "sub/deep.log", "x.whl",
    ]  # fmt: skip


def test_what_never_belongs_into_a_package_is_left_out(tmp_path):
    """The list is Ray's own; patterns of the caller come on top."""
    for name in (".git/config", ".venv/x", "venv/x", "a/__pycache__/b.pyc", "a/b.py", "big/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert packed(tmp_path, excludes=["/big"]) == ["a/b.py"]


def test_links_are_followed(tmp_path):
    """What a link shows is packed; one that shows nothing is not."""
    outside = tree(tmp_path / "outside", f="1", d__g="2")
    folder = tree(tmp_path / "plugin", a="")
    (folder / "f").symlink_to(outside / "f")
    (folder / "d").symlink_to(outside / "d")
    (folder / "broken").symlink_to(outside / "nothing")

    assert packed(folder) == ["a", "d/g", "f"]


def test_link_that_goes_round_in_a_circle_is_told(tmp_path):
    """Ray itself would follow it until the disk is full."""
    folder = tree(tmp_path, a__b="")
    (folder / "a" / "up").symlink_to(folder)

    with pytest.raises(PluginManifestError, match=r"a/up: this link leads to a folder"):
        build_directory_package(folder)
    (folder / ".rayignore").write_text("up\n")
    assert packed(folder) == [".rayignore", "a/b"]


def test_link_to_itself_is_told(tmp_path):
    """Nobody meant it, and it must not end the search in a traceback."""
    folder = tree(tmp_path, a="")
    (folder / "me").symlink_to("me")

    with pytest.raises(PluginManifestError, match=r"/me: this link leads back to itself"):
        build_directory_package(folder)
    (folder / ".rayignore").write_text("me\n")
    assert packed(folder) == [".rayignore", "a"]


def test_required_file_that_would_be_left_out_is_told(tmp_path):
    """A wheel that .gitignore hides would be missed on the cluster only."""
    folder = tree(tmp_path, _dot_gitignore="wheels/\n", wheels__x_dot_whl="")

    with pytest.raises(PluginManifestError) as caught:
        build_directory_package(folder, required=["wheels/x.whl"])

    assert "wheels/x.whl" in str(caught.value)
    assert "!/wheels/" in str(caught.value)


@pytest.mark.parametrize("ignored", ["wheels/\n", "*.whl\n", "/wheels/*.whl\n", "**/x.whl\n"])
def test_advice_for_a_required_file_helps(tmp_path, ignored):
    """What the error says to write into .rayignore lets the file in, whatever hid it."""
    folder = tree(tmp_path, _dot_gitignore=ignored, wheels__x_dot_whl="")
    with pytest.raises(PluginManifestError) as caught:
        build_directory_package(folder, required=["wheels/x.whl"])
    (advice,) = re.findall(r"add the line (\S+) to the folder", str(caught.value))

    (folder / ".rayignore").write_text(f"{advice}\n")

    assert "wheels/x.whl" in names(build_directory_package(folder, required=["wheels/x.whl"]))


def test_py_modules_are_packed_with_their_folder(tmp_path):
    """Ray puts the unpacked package on PYTHONPATH, so the module's folder has to be in it."""
    folder = tree(tmp_path / "mymodule", __init___dot_py="", a__b="")
    (folder / "empty").mkdir()

    found = packed(folder, include_parent_dir=True)

    assert all(name.startswith("mymodule/") for name in found)
    assert "mymodule/empty/" in found


def test_folder_over_the_limit_is_refused_before_it_is_read(tmp_path):
    """The error tells the size, the limit, the largest files and what to do."""
    folder = tree(tmp_path, small="x", data__model="")
    os.truncate(folder / "data" / "model", MAX_PACKAGE_BYTES)
    (folder / "data" / "model").chmod(0)

    with pytest.raises(PluginManifestError) as caught:
        build_directory_package(folder)

    for part in [str(folder), "100.0 MiB", "data/model (100.0 MiB)", ".rayignore"]:
        assert part in str(caught.value)


def test_ignored_files_do_not_count_for_the_limit(tmp_path):
    """Data beside the code is fine if it stays here."""
    folder = tree(tmp_path, a="", data__model="", _dot_rayignore="data/\n")
    os.truncate(folder / "data" / "model", 10 * MAX_PACKAGE_BYTES)

    assert packed(folder) == [".rayignore", "a"]


def test_file_that_changes_while_it_is_packed_is_told(tmp_path):
    """A URI never stands for other content."""
    folder = tree(tmp_path, a="1")
    package = build_directory_package(folder)
    tree(folder, a="2")

    with pytest.raises(RayJobSubmissionError, match="changed while the package was built"):
        names(package)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder / "no-such", "no-such: there is no such folder"),
        (lambda folder: tree(folder, a="") / "a", "/a: this is a file, not a folder"),
    ],
)
def test_what_is_no_folder_is_told(tmp_path, make, told):
    """The error names the path."""
    with pytest.raises(PluginManifestError, match=told):
        build_directory_package(make(tmp_path))


def test_name_that_no_zip_can_hold_is_told(tmp_path):
    """A name in another encoding than UTF-8 is shown escaped."""
    with (tmp_path / os.fsdecode(b"f\xfcr")).open("w"):
        pass

    with pytest.raises(PluginManifestError, match="not valid UTF-8"):
        build_directory_package(tmp_path)


def test_files_from_memory_are_a_package_too():
    """The same files in another order are the same package."""
    package = build_files_package({"m/b.py": b"2", "m/a.py": b"1"})

    assert package.uri == build_files_package({"m/a.py": b"1", "m/b.py": b"2"}).uri
    assert package.uri != build_files_package({"m/a.py": b"1", "m/b.py": b"3"}).uri
    assert names(package) == ["m/a.py", "m/b.py"]


def test_files_from_memory_over_the_limit_are_refused():
    """Params of more than the dashboard takes belong elsewhere."""
    with pytest.raises(RayJobSubmissionError, match=r"100\.0 MiB.*call\.json"):
        build_files_package({"m/call.json": bytes(MAX_PACKAGE_BYTES + 1)})
