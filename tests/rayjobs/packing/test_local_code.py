"""Folders and files of this machine become packages that a cluster can read."""

from __future__ import annotations

import importlib
import os
import re
import sys
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    AirflowSynapseError,
    PluginManifestError,
    RayJobSubmissionError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.packing import packages
from airflow_synapse.rayjobs.packing.preparation import PreparedJob
from tests.support.stub_dashboard import StubDashboard

MANIFEST = "name: p\nactions:\n  go: {entrypoint: 'm:go'}\n"
UPLOADED = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def plugin(root: Path, manifest: str = "", **files: str) -> Path:
    return tree(root, {"config.yaml": MANIFEST + manifest, "m.py": "", **files})


def wheel(folder: Path, content: str = "", name: str = "own-1.0-py3-none-any.whl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as file:
        file.writestr("own.py", content)
    return folder / name


def prepared(root: Path, **arguments: Any) -> PreparedJob:
    return RayJobExecutor("http://head", working_dir=root, **arguments).prepare_action("go", {})


def modules(job: PreparedJob) -> list[list[str]]:
    """Return the files of each py_module, in order; a wheel's is its name."""
    by_uri = {package.uri: package for package in job.packages}
    found = [by_uri[uri] for uri in job.spec.runtime_env["py_modules"][1:]]
    return [[file.name for file in package.files] or [package.name] for package in found]


# --- py_modules ---


@pytest.mark.parametrize("given", ["path", "text", "imported", "with a slash", "relative"])
def test_folder_is_a_module_in_whatever_form_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """Ray puts the unpacked package on PYTHONPATH, so the folder itself is in it."""
    lib = tree(tmp_path, {"lib/some_folder/__init__.py": "", "lib/some_folder/a b.txt": ""}) / "lib"
    monkeypatch.syspath_prepend(lib)
    monkeypatch.chdir(lib)
    module = {
        "path": lambda: lib / "some_folder",
        "text": lambda: str(lib / "some_folder"),
        "imported": lambda: importlib.import_module("some_folder"),
        "with a slash": lambda: f"{lib}/some_folder/",
        "relative": lambda: "some_folder",
    }[given]()

    job = prepared(plugin(tmp_path / "plugin"), runtime_env={"py_modules": [module]})

    (files,) = modules(job)
    assert [f for f in files if "pycache" not in f] == [
        "some_folder/__init__.py",
        "some_folder/a b.txt",
    ]
    sys.modules.pop("some_folder", None)


@pytest.mark.parametrize("is_imported", [False, True])
def test_single_file_is_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_imported: bool
) -> None:
    """It lies at the top of its package."""
    file = tree(tmp_path, {"lib/some_file.py": "X = 1\n"}) / "lib" / "some_file.py"
    monkeypatch.syspath_prepend(file.parent)
    module = importlib.import_module("some_file") if is_imported else str(file)

    job = prepared(plugin(tmp_path / "plugin"), runtime_env={"py_modules": [module]})

    assert modules(job) == [["some_file.py"]]
    sys.modules.pop("some_file", None)


def test_wheel_is_a_module_under_a_name_of_its_content(tmp_path: Path) -> None:
    """pip reads its name, and Ray never runs an old wheel under it; it is sent as it is."""
    root = plugin(tmp_path / "plugin")
    names = []
    for content in ("1", "1", "2"):
        path = wheel(tmp_path, content)
        os.utime(path, (1, 1))
        job = prepared(root, runtime_env={"py_modules": [path]})
        ((name,),) = modules(job)
        names.append(name)
        (package,) = (package for package in job.packages if package.ready)
        with package.zipped() as file:
            assert file == path
        assert package.size == path.stat().st_size

    assert re.fullmatch(r"own-1\.0-0_[0-9a-f]{40}-py3-none-any\.whl", names[0])
    assert names[0] == names[1] != names[2]


def test_build_tag_of_a_wheel_stays_in_front(tmp_path: Path) -> None:
    """pip orders wheels by it."""
    path = wheel(tmp_path, name="own-1.0+cu-7-py3-none-any.whl")

    job = prepared(plugin(tmp_path / "plugin"), runtime_env={"py_modules": [str(path)]})

    assert modules(job)[0][0].startswith("own-1.0+cu-7_")


def test_uri_is_a_module_as_it_is(tmp_path: Path) -> None:
    """The cluster reads it."""
    uris = ["s3://bucket/a.zip", "https://host/own-1.0-py3-none-any.whl"]

    job = prepared(plugin(tmp_path), runtime_env={"py_modules": uris})

    assert job.spec.runtime_env["py_modules"][1:] == uris


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda at: at / "nowhere", "nowhere: there is no such file or folder"),
        (
            lambda at: tree(at, {"a.txt": ""}) / "a.txt",
            "a.txt: it is not a module: Ray accepts a folder",
        ),
        (lambda at: tree(at, {"a.zip": ""}) / "a.zip", "a.zip: it is not a module"),
        (lambda at: tree(at, {"a.whl": ""}) / "a.whl", "a.whl: this is not a valid wheel name"),
        (
            lambda at: sys,
            "the module 'sys' in runtime_env['py_modules'] is neither a single file nor a single folder",
        ),
        (
            lambda at: types.ModuleType("made"),
            "the module 'made' in runtime_env['py_modules'] is neither",
        ),
        (lambda at: 7, "a value of type int is not a path"),
        (lambda at: {"a": 1}, "a value of type dict is not a path"),
    ],
)
def test_what_is_no_module_is_told(tmp_path: Path, given: Any, told: str) -> None:
    """In the field's terms, before anything is sent."""
    root = plugin(tmp_path / "plugin")

    with pytest.raises(AirflowSynapseError, match=re.escape(told)) as caught:
        prepared(root, runtime_env={"py_modules": [given(tmp_path)]})

    assert "py_modules" in str(caught.value) or "wheel" in str(caught.value)


def test_module_in_a_folder_of_several_places_is_told(tmp_path: Path) -> None:
    """Ray takes one folder."""
    module = types.ModuleType("wide")
    module.__path__ = [str(tmp_path), str(tmp_path / "b")]

    with pytest.raises(
        RayJobSubmissionError, match=r"'wide' in .* is neither a single file nor a single folder"
    ):
        prepared(plugin(tmp_path), runtime_env={"py_modules": [module]})


# --- relative paths ---


def test_paths_of_a_manifest_are_relative_to_the_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the worker stands."""
    monkeypatch.chdir(tmp_path)
    root = plugin(
        tmp_path / "plugin",
        "runtime_env: {py_modules: [libs/extra, one.py], pip: more.txt}\nwheels_dir: my wheels\n",
        **{"libs/extra/__init__.py": "", "one.py": "", "more.txt": "idna\n", "my wheels/x": ""},
    )
    tree(tmp_path, {"one.py": "other", "libs/extra/other.py": ""})

    job = prepared(root)

    assert modules(job) == [["extra/__init__.py"], ["one.py"]]
    assert job.spec.runtime_env["pip"]["packages"] == ["idna"]


@pytest.mark.parametrize("where", ["executor", "submission"])
def test_paths_of_an_argument_are_looked_up_in_the_plugin_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """And then in the current folder, as a requirements file is."""
    monkeypatch.chdir(tree(tmp_path, {"b.py": "", "more.txt": "idna\n"}))
    root = plugin(tmp_path / "plugin", **{"a.py": ""})
    given = {"runtime_env": {"py_modules": ["a.py", "b.py"], "pip": "more.txt"}}
    executor = RayJobExecutor(
        "http://head", working_dir=root, **given if where == "executor" else {}
    )

    job = executor.prepare_action("go", {}, **given if where == "submission" else {})

    assert modules(job) == [["a.py"], ["b.py"]]
    assert job.spec.runtime_env["pip"]["packages"] == ["idna"]


def test_conda_file_of_a_manifest_is_the_plugin_s(tmp_path: Path) -> None:
    """It is read here, as Ray's own client does it."""
    root = plugin(
        tmp_path,
        "runtime_env: {conda: environment.yml}\n",
        **{"environment.yml": "dependencies: [idna]\n"},
    )

    assert prepared(root).spec.runtime_env["conda"] == {"dependencies": ["idna"]}


# --- a zip ---


def archive(root: Path, **files: str) -> Path:
    with zipfile.ZipFile(root / "code.zip", "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return root / "code.zip"


def test_local_zip_is_sent_as_it_is(stub_dashboard: StubDashboard, tmp_path: Path) -> None:
    """As Ray's own client does it, for a command and for an action by its entrypoint."""
    path = archive(tmp_path, **{"main.py": "", "config.yaml": "no manifest: [is read"})
    executor = RayJobExecutor(stub_dashboard.url, working_dir=path)

    jobs = [executor.submit_entrypoint("python main.py"), executor.submit("main:run", {"a": 1})]

    uris = {stub_dashboard.jobs[job].request["runtime_env"]["working_dir"] for job in jobs}
    (uri,) = uris
    assert re.fullmatch(r"gcs://_ray_pkg_[0-9a-f]{40}\.zip", uri)
    assert stub_dashboard.packages[uri] == path.read_bytes()


def test_action_of_a_local_zip_is_given_as_an_entrypoint(tmp_path: Path) -> None:
    """Where no manifest is read, a name alone can't be looked up."""
    executor = RayJobExecutor("http://head", working_dir=archive(tmp_path))

    with pytest.raises(ActionNotFoundError, match=r"as package\.module:attribute"):
        executor.prepare_action("train", {})


def test_zip_may_be_named_in_the_runtime_env(tmp_path: Path) -> None:
    """It goes over the plugin's folder, as any working_dir does there."""
    job = RayJobExecutor("http://head").prepare_entrypoint(
        "true", runtime_env={"working_dir": archive(tmp_path)}
    )

    assert [package.ready is not None for package in job.packages] == [True]


def test_zip_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """The error tells the size and what else can be done."""
    path = archive(tmp_path, a="x" * 3000)

    with (
        patch.object(packages, "MAX_PACKAGE_BYTES", 1024),
        patch.object(packages, "content_hash", side_effect=AssertionError("it was read")),
        pytest.raises(PluginManifestError, match=r"code\.zip: the file has 0\.0 MiB.*its URI"),
    ):
        RayJobExecutor("http://head", working_dir=path).prepare_entrypoint("true")


def test_zip_that_is_none_is_told(tmp_path: Path) -> None:
    """Ray would find out on the cluster."""
    path = tree(tmp_path, {"code.zip": "no zip"}) / "code.zip"

    with pytest.raises(PluginManifestError, match=r"code\.zip: this is not a zip file"):
        RayJobExecutor("http://head", working_dir=path).prepare_entrypoint("true")


def test_zip_that_changes_after_it_was_prepared_is_told(tmp_path: Path) -> None:
    """A URI never stands for other content."""
    path = archive(tmp_path, a="1")
    job = RayJobExecutor("http://head", working_dir=path).prepare_entrypoint("true")
    archive(tmp_path, a="2")

    with (
        pytest.raises(RayJobSubmissionError, match="changed while the package was built"),
        job.packages[0].zipped(),
    ):
        pass


def test_requirement_that_a_zip_lacks_is_told(tmp_path: Path) -> None:
    """The cluster would miss it."""
    executor = RayJobExecutor(
        "http://head",
        working_dir=archive(tmp_path, **{"libs/a/pyproject.toml": ""}),
        runtime_env={"pip": [f"{UPLOADED}/libs/a", f"{UPLOADED}/libs/b"]},
    )

    with pytest.raises(PluginManifestError, match="need libs/b, which it does not contain"):
        executor.prepare_entrypoint("true")


# --- requirements ---


def test_rebuilt_wheel_makes_ray_install_anew(tmp_path: Path) -> None:
    """Ray keeps an environment while its lines are the same; a rebuilt wheel keeps its name."""
    root = plugin(tmp_path)
    lines = []
    for content in ("one", "one", "two"):
        wheel(root / "wheels", content)
        os.utime(root / "wheels" / "own-1.0-py3-none-any.whl", (1, 1))
        lines.append(prepared(root).spec.runtime_env["pip"]["packages"])

    assert lines[0] == lines[1]
    assert lines[0][0] == lines[2][0] == f"{UPLOADED}/wheels/own-1.0-py3-none-any.whl"
    assert lines[0][1] != lines[2][1]
    assert all(line[1].startswith("# local files: sha256 ") for line in lines)


def test_other_files_make_ray_install_nothing_anew(tmp_path: Path) -> None:
    """An environment depends on what its lines install, and on nothing that is not sent."""
    root = plugin(tmp_path, **{".gitignore": "*.bin\n", "lib/pyproject.toml": ""})
    tree(root, {"requirements.txt": "./lib\n"})
    before = prepared(root).spec.runtime_env["pip"]
    tree(root, {"m.py": "changed", "lib/x.bin": "ignored"})

    assert prepared(root).spec.runtime_env["pip"] == before


HASHED = "".join(f"a{i}==1.0 --hash=sha256:{i:064x} --hash=sha256:{i:064d}\n" for i in range(900))


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_long_lock_travels_as_a_file(tmp_path: Path, manager: str) -> None:
    """All of a runtime_env has to fit into one variable; a file of the package has any size."""
    root = plugin(tmp_path, f"package_manager: {manager}\n", **{"requirements.txt": HASHED})

    job = prepared(root)

    (line,) = job.spec.runtime_env[manager]["packages"]
    (file,) = (file for file in job.packages[0].files if file.name.startswith(".requirements-"))
    assert line == f" -r {UPLOADED}/{file.name}"
    assert file.source == HASHED.encode()


def test_long_lock_that_changes_makes_ray_install_anew(tmp_path: Path) -> None:
    """Ray compares the lines, so the file is called by its content."""
    root = plugin(tmp_path, **{"requirements.txt": HASHED})
    before = prepared(root).spec.runtime_env["pip"]["packages"]
    tree(root, {"requirements.txt": HASHED.replace("a0==1.0", "a0==1.1")})

    assert prepared(root).spec.runtime_env["pip"]["packages"] != before


def test_long_lock_needs_no_folder(tmp_path: Path) -> None:
    """A command or a function without one gets a folder with the lock in it."""
    file = tree(tmp_path, {"lock.txt": HASHED}) / "lock.txt"

    job = RayJobExecutor("http://head", requirements_file=file).prepare_entrypoint("true")

    assert job.spec.runtime_env["working_dir"] == job.packages[0].uri
    assert len(job.packages[0].files) == 1


def test_long_lock_with_wheels_is_installed_anew_with_them(tmp_path: Path) -> None:
    """What the file names is looked after as if it stood in the lines."""
    lines = "".join(f"a{i:04}-{'x' * 40}==1.0\n" for i in range(900))
    root = plugin(tmp_path, **{"requirements.txt": lines, ".gitignore": "wheels\n"})
    wheel(root / "wheels")

    with pytest.raises(PluginManifestError, match=r"own-1\.0.*needs? this file"):
        prepared(root)
    tree(root, {".gitignore": ""})

    (line, comment) = prepared(root).spec.runtime_env["pip"]["packages"]
    assert line.startswith(" -r ")
    assert comment.startswith("# local files")


# --- the entrypoint ---


@pytest.mark.parametrize(
    ("ignored", "file", "entrypoint", "told"),
    [
        ("gen/\n", "a/gen/train.py", "a.gen.train:go", "'gen/' (line 1 of {}/.gitignore)"),
        ("\n*.py\n!m.py\n", "train.py", "train:go", "'*.py' (line 2 of {}/.gitignore)"),
        ("build\n", "build/__init__.py", "build.go", "'build' (line 1 of {}/.gitignore)"),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_entrypoint_that_is_left_out_is_told(
    tmp_path: Path, ignored: str, file: str, entrypoint: str, told: str, is_named: bool
) -> None:
    """With the ignore file, its line and what to do, which helps."""
    root = plugin(tmp_path, f"  own: {{entrypoint: '{entrypoint}'}}\n", **{file: ""})
    tree(root, {".gitignore": ignored})
    executor = RayJobExecutor("http://head", working_dir=root)
    action = "own" if is_named else entrypoint
    if ":" not in action and not is_named:
        action = ":".join(entrypoint.rsplit(".", 1))

    with pytest.raises(PluginManifestError, match=re.escape(told.format(root))) as caught:
        executor.prepare_action(action, {})

    assert str(caught.value).startswith(str(root / file))
    (advice,) = re.findall(r"add the line (\S+) to the folder", str(caught.value))
    (root / ".rayignore").write_text(f"{advice}\n")
    executor.prepare_action(action, {})


def test_entrypoint_in_excludes_is_told(tmp_path: Path) -> None:
    """An argument leaves out as a file does."""
    with pytest.raises(PluginManifestError, match=r"m\.py: the entrypoint m:go .*in excludes"):
        prepared(plugin(tmp_path), runtime_env={"excludes": ["*.py"]})


def test_entrypoint_of_an_installed_package_is_taken(tmp_path: Path) -> None:
    """What is not in the folder may come with a wheel."""
    root = plugin(tmp_path, "  own: {entrypoint: 'installed.train:go'}\n")

    RayJobExecutor("http://head", working_dir=root).prepare_action("own", {})


@pytest.mark.parametrize("file", ["json.py", "logging/__init__.py", "types.py"])
def test_module_that_hides_one_that_ray_needs_is_told(tmp_path: Path, file: str) -> None:
    """No process of Ray would start with the plugin on its path."""
    with pytest.raises(PluginManifestError, match=r"hide Python's own module .*Rename it"):
        prepared(plugin(tmp_path, **{file: ""}))


def test_module_that_hides_another_one_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be what somebody wants."""
    prepared(plugin(tmp_path, **{"cmd.py": ""}))

    assert f"{tmp_path}/cmd.py hides Python's own module 'cmd'" in caplog.text


@pytest.mark.parametrize(
    "file",
    [
        "logging/app.log",
        "json/data.json",
        "pkg/json.py",
        "test/__init__.py",
        "plugin/types.py",
        "sys.py",
        "jsons.py",
        "types.txt",
    ],
)
def test_file_that_hides_nothing_is_no_reason_to_warn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    """Only a module at the top of the folder comes before Python's."""
    prepared(plugin(tmp_path, **{file: ""}))

    assert "hides" not in caplog.text


# --- images ---


@pytest.mark.parametrize("image", [{"image_uri": "repo/image"}, {"container": {"image": "i"}}])
@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"working_dir": "."}, "together with working_dir"),
        ({"pip": ["idna"]}, "together with pip"),
        ({"py_modules": ["s3://b/m.zip"], "uv": ["a"]}, "together with py_modules, uv"),
    ],
)
def test_image_beside_other_fields_is_told(
    tmp_path: Path, image: dict[str, Any], more: dict[str, Any], told: str
) -> None:
    """Ray takes it alone, and says so only on the cluster."""
    with pytest.raises(RayJobSubmissionError, match=told) as caught:
        RayJobExecutor("http://head").prepare_entrypoint("true", runtime_env={**image, **more})

    assert "config and env_vars" in str(caught.value)


def test_image_of_an_action_is_told(tmp_path: Path) -> None:
    """Its code has to be sent."""
    with pytest.raises(RayJobSubmissionError, match="image_uri together with working_dir"):
        prepared(plugin(tmp_path), runtime_env={"image_uri": "repo/image"})
    with pytest.raises(RayJobSubmissionError, match="the action's own code"):
        prepared(plugin(tmp_path), runtime_env={"image_uri": "repo/image", "working_dir": None})


def test_image_alone_is_taken() -> None:
    """With what Ray takes beside it."""
    env = {"image_uri": "repo/image", "env_vars": {"A": "1"}, "config": {"eager_install": False}}

    job = RayJobExecutor("http://head").prepare_entrypoint("true", runtime_env=env)

    assert job.spec.runtime_env["image_uri"] == "repo/image"
