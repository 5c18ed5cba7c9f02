"""What is left out of a package: as git has it, and what .rayignore says on top."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from airflow_synapse.exceptions import PluginManifestError
from airflow_synapse.rayjobs.packing.package_files import find_files, why_left_out

needs_git = pytest.mark.skipif(
    shutil.which("git") is None, reason="there is no git to compare with"
)


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return root


def repository(root: Path, exclude: str = "") -> Path:
    """Make what git takes for an empty repository."""
    for folder in ("objects", "refs", "info"):
        (root / ".git" / folder).mkdir(parents=True)
    return tree(root, {".git/HEAD": "ref: refs/heads/main\n", ".git/info/exclude": exclude})


def packed(folder: Path) -> set[str]:
    return {file.name for file in find_files(folder) if not file.is_folder}


def all_files(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths}


def left_out_by_git(folder: Path, names: set[str]) -> set[str]:
    asked = b"\0".join(map(os.fsencode, sorted(names)))
    answer = subprocess.run(
        ["git", "check-ignore", "--stdin", "-z"],
        check=False,
        cwd=folder,
        input=asked,
        capture_output=True,
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull},
    )
    assert answer.returncode in (0, 1), answer.stderr
    return {os.fsdecode(name) for name in answer.stdout.split(b"\0") if name}


PIECES = st.sampled_from(
    [
        *[
            "a",
            "b",
            "ab",
            "a.b",
            "a b",
            "a\\ b",
            "\\a",
            "é",
            "*",
            "*",
            "**",
            "?",
            "??",
            "*.b",
            "a*",
        ],
        *["*b", "a**", "**b", "[ab]", "[!a]", "[a-b]b", "[[:alpha:]]*", "[]-a]", "[^-]", "[", "\\"],
    ]
)
GLOBS = st.tuples(
    st.sampled_from(["", "", "", "/", "!", "!", "!/", "#", " ", "\\!"]),
    st.lists(PIECES, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["", "", "", "/", "/", " ", "\r", "\\ ", "//", "/**", "/*"]),
).map("".join)
USUAL = st.sampled_from(["*", "!*/", "!*.b", "!a", "!ab/", "/*", "a/", "!a/*.b", "a/**/b"])
NOISE = st.text("ab*?/[]!^-\\ .é#:\t\r", max_size=7)
IGNORED = st.lists(GLOBS | USUAL | NOISE, min_size=1, max_size=4).map("\n".join)
FOLDERS = st.sampled_from(["", "x/", "x/plugin/", "x/plugin/a/", "x/plugin/a/b/", "x/plugin/ab/"])


@pytest.fixture(scope="module")
def wide_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose plugin has folders in folders with the same names as its files."""
    root = repository(tmp_path_factory.mktemp("repository"))
    for folder in ("", "a/", "ab/", "a b/", "é/", "a/b/", "a/a/", "ab/a/", "a/b/a/", "a/ab/b.b/"):
        names = ("f", "b", "-", "A", "a.b", "b.b", "a b.b", "éé", "]", "!a", "#a", "a\\")
        tree(root, {f"x/plugin/{folder}{name}": "" for name in names if name != "b"})
    return root


@needs_git
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ignored=st.dictionaries(FOLDERS, IGNORED, max_size=4), exclude=IGNORED | st.just(""))
def test_what_is_packed_is_what_git_does_not_ignore(
    wide_repository: Path, ignored: dict[str, str], exclude: str
) -> None:
    """Whatever the patterns are, git itself says the same of every file."""
    for file in wide_repository.rglob(".gitignore"):
        file.unlink()
    tree(wide_repository, {f"{folder}.gitignore": text for folder, text in ignored.items()})
    tree(wide_repository, {".git/info/exclude": exclude})
    plugin = wide_repository / "x" / "plugin"
    assume(not left_out_by_git(wide_repository, {"x/plugin"}))  # has a test of its own
    names = all_files(plugin)

    assert packed(plugin) == names - left_out_by_git(plugin, names)


def test_allow_list_keeps_what_it_names_at_every_depth(tmp_path: Path) -> None:
    """Everything is ignored, folders and one kind of file are let back in."""
    tree(tmp_path, {".gitignore": "*\n!*/\n!*.py\n", "m.py": "", "lib/deep/x.py": "", "data/x": ""})

    assert packed(tmp_path) == {"m.py", "lib/deep/x.py"}


def test_file_below_an_ignored_folder_is_never_let_in_again(tmp_path: Path) -> None:
    """git does not look into a folder that is ignored."""
    tree(tmp_path, {".gitignore": "a/\nb/*\n!a/x\n!b/x\n", "a/x": "", "b/x": "", "b/y": ""})

    assert packed(tmp_path) == {".gitignore", "b/x"}


def test_line_that_is_no_pattern_is_passed_over(tmp_path: Path) -> None:
    """As git does it: a lone "!", an open bracket, a backslash at the end."""
    tree(tmp_path, {".gitignore": "!\n[a\na\\\n/\n# a\n", "a": "", "[a": ""})

    assert packed(tmp_path) == {".gitignore", "a", "[a"}


def test_files_of_the_repository_around_count(tmp_path: Path) -> None:
    """Up to its root and no further, and the list that is in nobody's working tree."""
    root = repository(tree(tmp_path, {".gitignore": "*.py\n"}) / "repo", exclude="/x/plugin/d\n")
    tree(root, {".gitignore": "*.csv\n/x/plugin/c\n", "x/.gitignore": "!keep.csv\n/plugin/e\n"})
    plugin = tree(
        root / "x" / "plugin", dict.fromkeys(["a.py", "b.csv", "c", "d", "e", "keep.csv"], "")
    )

    assert packed(plugin) == {"a.py", "keep.csv"}


def test_folder_in_no_repository_is_judged_by_its_own_files(tmp_path: Path) -> None:
    """Of what lies above nobody knows whether it has to do with the plugin."""
    plugin = tree(tmp_path / "plugin", {".gitignore": "*.csv\n", "a.py": "", "b.csv": ""})
    tree(tmp_path, {".gitignore": "*.py\n"})

    assert packed(plugin) == {".gitignore", "a.py"}


def test_plugin_that_is_ignored_itself_is_packed(tmp_path: Path) -> None:
    """Somebody asked for this folder; what is ignored in it is still left out."""
    root = repository(tmp_path)
    plugin = tree(root / "build" / "plugin", {"a.py": "", "b.log": ""})
    tree(root, {".gitignore": "build/\n*.log\n"})

    assert packed(plugin) == {"a.py"}


def test_link_to_a_plugin_is_judged_where_the_plugin_is(tmp_path: Path) -> None:
    """git-sync and others show a repository by a link."""
    root = repository(tmp_path / "repo")
    tree(root, {".gitignore": "*.log\n", "plugin/a.py": "", "plugin/b.log": ""})
    (tmp_path / "dags").symlink_to(root / "plugin")

    assert packed(tmp_path / "dags") == {"a.py"}


@pytest.mark.parametrize(
    "files",
    [
        {"repo/.git": "gitdir: ../main/.git/worktrees/w\n"},
        {"repo/.git": "gitdir: ../main/.git/worktrees/w\n", "main/.git/info/exclude": "*.log\n"},
    ],
    ids=["that is elsewhere", "with a list of its own"],
)
def test_worktree_is_a_repository(tmp_path: Path, files: dict[str, str]) -> None:
    """Its .git is a file, and what it shares with the others lies in theirs."""
    tree(tmp_path, {**files, "main/.git/worktrees/w/commondir": "../..\n"})
    plugin = tree(tmp_path / "repo" / "plugin", {"a.py": "", "b.csv": "", "c.log": ""})
    tree(tmp_path, {".gitignore": "*.py\n", "repo/.gitignore": "*.csv\n"})

    expected = {"a.py"} if "main/.git/info/exclude" in files else {"a.py", "c.log"}
    assert packed(plugin) == expected


def test_repository_in_a_repository_has_its_own_rules(tmp_path: Path) -> None:
    """What the outer one ignores says nothing about a checkout inside of it."""
    root = repository(tmp_path)
    repository(root / "vendor")
    tree(root, {".gitignore": "*.bin\n", "a.bin": "", "vendor/a.bin": "", "vendor/.gitignore": "b"})
    tree(root, {"vendor/b": ""})

    assert packed(root) == {".gitignore", "vendor/.gitignore", "vendor/a.bin"}


def test_gitignore_that_is_a_link_does_not_count(tmp_path: Path) -> None:
    """git does not follow it."""
    tree(tmp_path, {"rules": "*.py\n", "a.py": ""})
    (tmp_path / ".gitignore").symlink_to("rules")

    assert packed(tmp_path) == {".gitignore", "a.py", "rules"}


@pytest.mark.parametrize(
    ("gitignore", "rayignore", "expected"),
    [
        ("*.whl\n", "!*.whl\n", {"d/x.whl", "d/y", "z"}),
        ("d/\n", "!d/\n", {"d/x.whl", "d/y", "z"}),
        ("d/*\n", "!d/\n", {"d/x.whl", "d/y", "z"}),
        ("*\n", "!d/\n!z\n", {"d/x.whl", "d/y", "z"}),
        ("*\n", "!/d\n*.whl\n", {"d/y"}),
        ("*\n", "!/d/x.whl\n", set()),
        ("!z\n", "z\n", {"d/x.whl", "d/y"}),
    ],
)
def test_rayignore_has_the_last_word(
    tmp_path: Path, gitignore: str, rayignore: str, expected: set[str]
) -> None:
    """It leaves out and lets in; a folder that it lets in comes with what is in it."""
    tree(tmp_path, {".gitignore": gitignore, ".rayignore": rayignore, "z": "", "d/y": ""})
    tree(tmp_path, {"d/x.whl": ""})

    assert packed(tmp_path) - {".gitignore", ".rayignore"} == expected


def test_rayignore_is_above_any_gitignore(tmp_path: Path) -> None:
    """Also above that of a deeper folder, and one of a deeper folder is above it."""
    tree(tmp_path, {".rayignore": "!x\ny\n", "d/.gitignore": "*\n", "d/.rayignore": "!y\n"})
    tree(tmp_path, {"d/x": "", "d/y": "", "d/z": "", "y": ""})

    assert packed(tmp_path) == {".rayignore", "d/x", "d/y"}


def test_pattern_that_leaves_a_path_out_is_known(tmp_path: Path) -> None:
    """With the file and the line that it is in, also of a folder around the path."""
    tree(tmp_path, {".gitignore": "\n# made\ngen/\n", "a/gen/x.py": "", "a/b.py": ""})

    left_out = why_left_out(tmp_path, "a/gen/x.py")

    assert left_out is not None
    assert left_out.path == "a/gen/"
    assert str(left_out.pattern) == f"the pattern 'gen/' (line 3 of {tmp_path}/.gitignore)"
    assert why_left_out(tmp_path, "a/b.py") is None
    left_out = why_left_out(tmp_path, "a/b.py", excludes=("a",))
    assert left_out is not None
    assert "(in excludes)" in str(left_out.pattern)
    assert "from excludes" in left_out.hint
    left_out = why_left_out(tree(tmp_path, {"venv/x.py": ""}), "venv/x.py")
    assert left_out is not None
    assert left_out.hint == "Rename the file or folder."


def test_ignore_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """What it would leave out is not sent instead."""
    tree(tmp_path, {".rayignore": ""})

    with (
        patch.object(Path, "read_bytes", side_effect=PermissionError(13, "Permission denied")),
        pytest.raises(PluginManifestError, match=r"\.rayignore: the ignore file can't be read"),
    ):
        find_files(tmp_path)
