"""Bad input is refused, saying where and what to do, before anything is sent."""

from __future__ import annotations

import hashlib
import math
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    ActionParamsError,
    AirflowSynapseError,
    PluginManifestError,
    PluginRequirementsError,
    RayAddressError,
    RayJobSubmissionError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.models import ACTION_KEY, PLUGIN_KEY
from airflow_synapse.rayjobs.packing import packages
from tests.support.stub_dashboard import StubDashboard

MANIFEST = """
name: digits
version: 1.2.0
actions:
  train:
    entrypoint: digits.train:run
    params:
      type: object
      properties: {epochs: {type: integer, minimum: 1}}
      required: [epochs]
  broken: {entrypoint: "no colon or dot"}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "config.yaml").write_text(MANIFEST.rpartition("  broken")[0])
    return folder


def written(plugin: Path, name: str, text: str) -> Path:
    (plugin / name).write_text(text)
    return plugin


Given = dict[str, Any]


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (lambda p: {"working_dir": p / "nowhere"}, PluginManifestError, "nowhere"),
        (lambda p: {"working_dir": None}, PluginManifestError, "working_dir: it is not set"),
        (lambda p: {"working_dir": ""}, PluginManifestError, "working_dir: it is not set"),
        (
            lambda p: {"working_dir": "s3://bucket/plugin.tar"},
            PluginManifestError,
            "only as a .zip",
        ),
        (
            lambda p: (p / "config.yaml").unlink() or {},
            PluginManifestError,
            "config.yaml",
        ),
        (
            lambda p: {"working_dir": written(p, "config.yaml", "name: [oops\n")},
            PluginManifestError,
            "config.yaml",
        ),
        (
            lambda p: {"working_dir": written(p, "config.yaml", MANIFEST)},
            PluginManifestError,
            "actions.broken.entrypoint",
        ),
        (
            lambda p: {
                "working_dir": written(p, "requirements.txt", "numpy\nnot a requirement!\n")
            },
            PluginRequirementsError,
            "requirements.txt",
        ),
        (
            lambda p: {"requirements_file": "missing.txt"},
            PluginRequirementsError,
            "missing.txt",
        ),
        (lambda p: {"package_manager": "conda"}, PluginManifestError, "'conda' is neither"),
        (lambda p: {"dashboard_url": "head:8265"}, RayAddressError, "head:8265"),
        (lambda p: {"dashboard_url": "http://head:port"}, RayAddressError, "malformed"),
        (lambda p: {"dashboard_url": "ray://head:10001"}, RayAddressError, "Ray Client"),
        (lambda p: {"num_cpus": -1}, RayJobSubmissionError, "num_cpus is -1"),
        (lambda p: {"num_gpus": -0.5}, RayJobSubmissionError, "num_gpus is -0.5"),
        (lambda p: {"memory": 0.5}, RayJobSubmissionError, "whole number of bytes"),
        (lambda p: {"resources": {"tpu": -1}}, RayJobSubmissionError, "['tpu'] is -1"),
        (lambda p: {"metadata": {"a": 1}}, RayJobSubmissionError, "metadata 'a' is an int"),
        (lambda p: {"env": {"A": ["x"]}}, PluginManifestError, "env.A"),
        (
            lambda p: {"runtime_env": {"pip": ["a"], "conda": "env"}},
            RayJobSubmissionError,
            "pip and conda",
        ),
        (
            lambda p: {"runtime_env": {"no_such_field": 1, "pip": 7}},
            RayJobSubmissionError,
            "runtime_env['pip'] is an int",
        ),
    ],
)
def test_what_can_not_be_is_refused_before_anything_is_sent(
    stub_dashboard: StubDashboard,
    plugin: Path,
    change: Callable[[Path], Given],
    kind: type[AirflowSynapseError],
    told: str,
) -> None:
    """A wrong argument of the executor or a broken plugin never reaches the cluster."""
    given: Given = {"dashboard_url": stub_dashboard.url, "working_dir": plugin, **change(plugin)}
    executor = RayJobExecutor(given.pop("dashboard_url"), **given)

    with pytest.raises(kind, match=re.escape(told)):
        executor.submit("train", {"epochs": 1})

    assert stub_dashboard.count() == 0


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        (("trian", {"epochs": 1}), ActionNotFoundError, "Available actions: train"),
        (("a b:c", {}), PluginManifestError, "'a b:c' is not an entrypoint"),
        (("train:", {}), PluginManifestError, "package.module:attribute"),
        (("train", {"epochs": {1}}), ActionParamsError, "params.epochs"),
        (("train", {"epochs": math.nan}), ActionParamsError, "params.epochs"),
        (("train", {"epochs": 0}), ActionParamsError, "params.epochs"),
        (("train", {}), ActionParamsError, "epochs"),
        (("train", ["epochs"]), ActionParamsError, "not a mapping"),
    ],
)
def test_action_that_can_not_be_called_is_refused_before_anything_is_sent(
    stub_dashboard: StubDashboard,
    plugin: Path,
    arguments: tuple[str, Any],
    kind: type[AirflowSynapseError],
    told: str,
) -> None:
    """A wrong name, entrypoint or parameter is told with its path."""
    executor = RayJobExecutor(stub_dashboard.url, working_dir=plugin)

    with pytest.raises(kind, match=re.escape(told)):
        executor.submit(*arguments)

    assert stub_dashboard.count() == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"job_id": "a/b"}, "'a/b'"),
        ({"job_id": "x" * 300}, "1 to 128 characters"),
        ({"job_id": ""}, "1 to 128 characters"),
        ({"job_id": ".."}, "1 to 128 characters"),
        ({"entrypoint_num_cpus": -1}, "num_cpus is -1"),
        ({"entrypoint_num_gpus": 1}, "both num_gpus and entrypoint_num_gpus were given"),
        ({"num_cpus": 1, "entrypoint_num_cpus": 1}, "both num_cpus and entrypoint_num_cpus"),
        ({"num_cpus": "many"}, "num_cpus is 'many'"),
        ({"env": ["A"]}, "env is a list"),
        ({"env": {"A-B": "x"}}, "env.A-B"),
        ({"submission_id": "x"}, "Pass the submission ID as job_id"),
        ({"no_such_argument": 1}, "no_such_argument"),
        ({"metadata": {"a": None}}, "metadata 'a'"),
        ({"runtime_env": "env.yaml"}, "its runtime_env is a str"),
        (
            {"runtime_env": {"working_dir": 7}},
            "runtime_env['working_dir']: a value of type int is not a path",
        ),
        ({"runtime_env": {"py_modules": "mod"}}, "runtime_env['py_modules'] is a str"),
        ({"runtime_env": {"py_modules": [7]}}, "runtime_env['py_modules']"),
        ({"runtime_env": {"excludes": "*.bin"}}, "runtime_env['excludes'] is a str"),
        ({"runtime_env": {"working_dir": "/no/such/folder"}}, "/no/such/folder"),
        ({"runtime_env": {"working_dir": "s3://bucket/folder"}}, "s3://bucket/folder"),
        ({"runtime_env": {"py_modules": ["https://host/a.tar"]}}, "https://host/a.tar"),
        ({"runtime_env": {"config": {"setup_timeout_seconds": 0}}}, "setup_timeout_seconds"),
        ({"runtime_env": {"conda": "no-such.yml"}}, "no-such.yml"),
        ({"runtime_env": {"pip": {"packages": ["a"], "pip_chek": True}}}, "pip_chek"),
        ({"runtime_env": {"uv": ["a"], "conda": "env"}}, "its runtime_env has uv and conda"),
        ({"runtime_env": {"env_vars": {"A": ["x"]}}}, "runtime_env['env_vars']['A']"),
    ],
)
@pytest.mark.parametrize(
    "submit",
    [
        lambda executor, given: executor.submit("train", {"epochs": 1}, **given),
        lambda executor, given: executor.submit_entrypoint("true", **given),
    ],
    ids=["action", "command"],
)
def test_argument_of_one_submission_is_refused_before_anything_is_sent(
    stub_dashboard: StubDashboard,
    plugin: Path,
    given: Given,
    told: str,
    submit: Callable[[RayJobExecutor, Given], str],
) -> None:
    """What goes to Ray's submit is checked for actions and commands alike."""
    executor = RayJobExecutor(stub_dashboard.url, working_dir=plugin, num_gpus=1)

    with pytest.raises(AirflowSynapseError, match=re.escape(told)):
        submit(executor, given)

    assert stub_dashboard.count() == 0


@pytest.mark.parametrize("entrypoint", ["", "  ", None, "a\0b", ["ls"]])
def test_what_is_no_command_is_refused(stub_dashboard: StubDashboard, entrypoint: Any) -> None:
    """A command is text that is not empty."""
    with pytest.raises(RayJobSubmissionError, match="is not a shell command"):
        RayJobExecutor(stub_dashboard.url).submit_entrypoint(entrypoint)

    assert stub_dashboard.count() == 0


def test_folder_over_the_limit_is_refused_with_its_size(
    stub_dashboard: StubDashboard, plugin: Path
) -> None:
    """A folder that the dashboard would not take is told with its size and largest files."""
    (plugin / "weights.bin").write_bytes(b"x" * 3 * 1024**2)
    executor = RayJobExecutor(stub_dashboard.url, working_dir=plugin)

    with (
        patch.object(packages, "MAX_PACKAGE_BYTES", 1024**2),
        pytest.raises(PluginManifestError, match=r"3\.0 MiB.*weights\.bin \(3\.0 MiB\)"),
    ):
        executor.submit("train", {"epochs": 1})

    assert stub_dashboard.count() == 0


def test_params_over_the_limit_are_refused(stub_dashboard: StubDashboard, tmp_path: Path) -> None:
    """Params that no package could hold are told to be handed over otherwise."""
    executor = RayJobExecutor(stub_dashboard.url, working_dir="s3://bucket/plugin.zip")

    with (
        patch.object(packages, "MAX_PACKAGE_BYTES", 1024**2),
        pytest.raises(RayJobSubmissionError, match="Pass large data as a path"),
    ):
        executor.submit("a:b", {"blob": "x" * 1024**2})

    assert stub_dashboard.count() == 0


def test_action_is_sent_without_its_params_in_the_command(
    stub_dashboard: StubDashboard, plugin: Path
) -> None:
    """Params travel in a package: no shell sees them, and the metadata says what runs."""
    executor = RayJobExecutor(
        stub_dashboard.url, working_dir=plugin, num_cpus=1, metadata={"team": "vision"}
    )

    job_id = executor.submit("train", {"epochs": 7}, metadata={"who": "me"})

    sent = stub_dashboard.jobs[job_id].request
    assert sent["entrypoint"] == "python -m airflow_synapse_action_runtime"
    assert sent["entrypoint_num_cpus"] == 1
    assert sent["metadata"][ACTION_KEY] == "train"
    assert sent["metadata"][PLUGIN_KEY] == "digits 1.2.0"
    assert (sent["metadata"]["team"], sent["metadata"]["who"]) == ("vision", "me")
    assert all(isinstance(value, str) for value in sent["metadata"].values())


@pytest.mark.parametrize(
    "submit",
    [
        lambda executor, **given: executor.submit("train", {"epochs": 1}, **given),
        lambda executor, **given: executor.submit_entrypoint("true", **given),
    ],
    ids=["action", "command"],
)
def test_one_job_may_have_its_own_resources_and_environment(
    stub_dashboard: StubDashboard, plugin: Path, submit: Callable[..., str]
) -> None:
    """The executor's own arguments mean the same for one job, and win over the executor's."""
    executor = RayJobExecutor(
        stub_dashboard.url, working_dir=plugin, num_cpus=1, num_gpus=1, env={"A": "1", "B": "1"}
    )

    job_id = submit(executor, num_cpus=2, memory=None, resources={"tpu": 1}, env={"B": 2})

    sent = stub_dashboard.jobs[job_id].request
    assert {name: sent[name] for name in sent if name.startswith("entrypoint_")} == {
        "entrypoint_num_cpus": 2,
        "entrypoint_num_gpus": 1,
        "entrypoint_resources": {"tpu": 1},
    }
    assert sent["runtime_env"]["env_vars"] == {"A": "1", "B": "2"}


def test_zip_that_the_cluster_reads_needs_no_folder_here(stub_dashboard: StubDashboard) -> None:
    """With a ``.zip`` URI only the call is uploaded, and the action is an entrypoint."""
    uri = "https://example.com/plugin.zip?version=3"
    executor = RayJobExecutor(stub_dashboard.url, working_dir=uri)

    job_id = executor.submit("digits.train:run", {"epochs": 7})

    assert stub_dashboard.jobs[job_id].request["runtime_env"]["working_dir"] == uri
    assert len(stub_dashboard.packages) == 1


def test_action_of_a_zip_is_given_as_an_entrypoint(stub_dashboard: StubDashboard) -> None:
    """Where no manifest is read, a name alone can't be looked up."""
    executor = RayJobExecutor(stub_dashboard.url, working_dir="s3://bucket/plugin.zip")

    with pytest.raises(ActionNotFoundError, match=r"entrypoint as package\.module:attribute"):
        executor.submit("train", {})

    assert stub_dashboard.count() == 0


def test_command_needs_no_manifest(stub_dashboard: StubDashboard, tmp_path: Path) -> None:
    """A folder without a manifest is uploaded for a command all the same."""
    (tmp_path / "script.py").write_text("print('hello')")
    executor = RayJobExecutor(stub_dashboard.url, working_dir=tmp_path)

    job_id = executor.submit_entrypoint("python script.py")

    working_dir = stub_dashboard.jobs[job_id].request["runtime_env"]["working_dir"]
    assert list(stub_dashboard.packages) == [working_dir]


def test_given_runtime_env_has_the_last_word(stub_dashboard: StubDashboard, plugin: Path) -> None:
    """Of the executor's and the submission's runtime_env the latter wins, and lists grow."""
    (plugin / "requirements.txt").write_text("numpy\n")
    executor = RayJobExecutor(
        stub_dashboard.url,
        working_dir=plugin,
        env={"A": "1", "B": "1"},
        runtime_env={"env_vars": {"B": "2"}, "pip": ["scipy"]},
    )

    job_id = executor.submit("train", {"epochs": 1}, runtime_env={"env_vars": {"C": "3"}})

    sent = stub_dashboard.jobs[job_id].request["runtime_env"]
    assert sent["env_vars"] == {"A": "1", "B": "2", "C": "3"}
    assert sent["pip"]["packages"] == ["numpy", "scipy"]


@pytest.mark.parametrize("nothing", [None, "", " "], ids=repr)
def test_path_that_is_empty_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing: str | None
) -> None:
    """A template that renders to nothing uploads neither the current folder nor anything else."""
    monkeypatch.chdir(written(tmp_path, "secret.txt", "s3cret"))
    executor = RayJobExecutor("http://head", working_dir=nothing, requirements_file=nothing)

    prepared = executor.prepare_entrypoint("true")

    assert prepared.packages == ()
    assert prepared.spec.runtime_env == {}


def test_requirements_file_that_is_empty_is_the_folder_s_own(plugin: Path) -> None:
    """Without a name of a file, the plugin's ``requirements.txt`` counts."""
    written(plugin, "requirements.txt", "numpy\n")
    executor = RayJobExecutor("http://head", working_dir=plugin, requirements_file="")

    prepared = executor.prepare_action("train", {"epochs": 1})

    assert prepared.spec.runtime_env["pip"]["packages"] == ["numpy"]


LONG = "x" * 128 * 1024


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"entrypoint": LONG},
            "its entrypoint has 131,072 bytes, but Linux allows fewer than 131,072",
        ),
        (
            {"runtime_env": {"env_vars": {"BIG": LONG[4:]}}},
            "its environment variable 'BIG' has 131,072",
        ),
        (
            {"runtime_env": {"env_vars": {"A": LONG[:70_000], "B": LONG[:70_000]}}},
            "together, but a node accepts at most",
        ),
        ({"metadata": {"note": LONG}}, "its metadata have 131,"),
    ],
    ids=["entrypoint", "variable", "variables", "metadata"],
)
def test_what_no_node_can_start_is_refused(given: Given, told: str) -> None:
    """Linux starts no command with an argument or a variable of 128 KiB, and params have no limit."""
    with pytest.raises(RayJobSubmissionError, match=told) as caught:
        RayJobExecutor("http://head").prepare_entrypoint(**{"entrypoint": "true", **given})

    assert "into action_params, which may be of any size" in str(caught.value)
    assert "xxx" not in str(caught.value)


def test_largest_command_and_environment_are_let_through() -> None:
    """What a node can start just so is not refused."""
    variables = {"A": LONG[:60_000], "B": LONG[:69_000]}

    prepared = RayJobExecutor("http://head").prepare_entrypoint(
        LONG[1:], runtime_env={"env_vars": variables}
    )

    assert prepared.spec.entrypoint == LONG[1:]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"env": "A=b"}, "env is a str, not a mapping"),
        ({"runtime_env": "{}"}, "runtime_env is a str, not a mapping"),
        ({"metadata": "who=me"}, "metadata is a str, not a mapping"),
        ({"metadata": {"who": {"me"}}}, "its metadata 'who' is a set"),
        (
            {"runtime_env": {"pip": {"packages": [1]}}},
            "['pip']['packages'][0] is an int, not a string",
        ),
        ({"runtime_env": {"uv": {"packages": "numpy"}}}, "['uv']['packages'] is a str, not a list"),
        (
            {"runtime_env": {"worker_process_setup_hook": print}},
            "runtime_env['worker_process_setup_hook'] is a builtin_function_or_method, which JSON can't",
        ),
        (
            {"runtime_env": {"odd": {"x": [{1, 2}]}}},
            "runtime_env['odd']['x'][0] is a set, which JSON",
        ),
    ],
)
def test_argument_of_another_type_is_refused_by_its_name(given: Given, told: str) -> None:
    """What can't be sent is refused before packages are, and the error names argument and place."""
    with pytest.raises(RayJobSubmissionError, match=re.escape(told)):
        RayJobExecutor("http://head", **given).prepare_entrypoint("true")


def test_own_wheel_goes_along_with_a_lock_that_has_hashes(plugin: Path) -> None:
    """pip takes no line without one, so it gets its own; uv needs none."""
    written(plugin, "requirements.txt", "idna==3.2 --hash=sha256:aa\n")
    (plugin / "wheels").mkdir()
    (plugin / "wheels" / "own-1.0-py3-none-any.whl").write_bytes(b"")
    lines = {}
    for manager in ("pip", "uv"):
        executor = RayJobExecutor("http://head", working_dir=plugin, package_manager=manager)
        prepared = executor.prepare_action("train", {"epochs": 1})
        lines[manager] = prepared.spec.runtime_env[manager]["packages"][1]

    assert lines["pip"] == f"{lines['uv']} --hash=sha256:{hashlib.sha256(b'').hexdigest()}"


@pytest.mark.parametrize(
    ("requirements", "options"),
    [("idna==3.2 --hash=sha256:aa\n-e .\n", None), ("idna==3.2\n", ["--require-hashes"])],
)
def test_hashes_that_pip_would_miss_are_told(
    stub_dashboard: StubDashboard, plugin: Path, requirements: str, options: list[str] | None
) -> None:
    """Before anything is sent: on the cluster it takes minutes to find out."""
    written(plugin, "requirements.txt", requirements)
    written(plugin, "pyproject.toml", "")
    executor = RayJobExecutor(
        stub_dashboard.url, working_dir=plugin, package_manager_options=options
    )

    with pytest.raises(PluginRequirementsError, match="have no hash"):
        executor.submit("train", {"epochs": 1})

    assert stub_dashboard.count() == 0


def test_wheels_are_in_the_folder_of_the_manifest_or_else_in_wheels(plugin: Path) -> None:
    """The executor's own default is "wheels", and yields to what the manifest names."""
    written(plugin, "config.yaml", (plugin / "config.yaml").read_text() + "wheels_dir: deps\n")
    (plugin / "deps").mkdir()
    (plugin / "deps" / "own-1.0-py3-none-any.whl").write_bytes(b"")
    executor = RayJobExecutor("http://head", working_dir=plugin)

    prepared = executor.prepare_action("train", {"epochs": 1})

    assert executor.source.wheels_dir == "wheels"
    assert "deps/own-1.0-py3-none-any.whl" in prepared.spec.runtime_env["pip"]["packages"][0]


SECRET_URI = "https://bucket/p.zip?X-Amz-Signature=s3cret"


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        ({"working_dir": SECRET_URI}, "no-entrypoint"),
        ({"working_dir": SECRET_URI.replace(".zip", ".tar")}, "m:run"),
        (
            {
                "working_dir": SECRET_URI,
                "runtime_env": {"py_modules": ["https://me:s3cret@h/a.tar"]},
            },
            "m:run",
        ),
        ({"working_dir": SECRET_URI, "requirements_file": "https://me:s3cret@h/r.txt"}, "m:run"),
        ({"working_dir": SECRET_URI, "runtime_env": {"pip": "https://me:s3cret@h/r.txt"}}, "m:run"),
    ],
)
def test_error_repeats_no_credentials(
    stub_dashboard: StubDashboard, arguments: dict[str, Any], action: str
) -> None:
    """The traceback with its causes included: it is in the task's log."""
    executor = RayJobExecutor(stub_dashboard.url, **arguments)

    with pytest.raises(AirflowSynapseError) as refused:
        executor.submit(action, {})

    assert "s3cret" not in "".join(traceback.format_exception(refused.value)).replace(
        SECRET_URI, ""
    )
    assert stub_dashboard.count() == 0


def test_credentials_are_in_no_metadata_and_no_repr(stub_dashboard: StubDashboard) -> None:
    """Metadata are shown in the dashboard, and go into events and lineage."""
    executor = RayJobExecutor(
        stub_dashboard.url,
        working_dir=SECRET_URI,
        package_manager_options=["--index-url=https://me:s3cret@host"],
        runtime_env={"pip": ["--extra-index-url https://me:s3cret@host", "a"]},
        token="s3cret",
    )

    prepared = executor.prepare_action("m:run", {})

    assert "s3cret" not in str(prepared.spec.metadata)
    for value in (executor, executor.cluster, executor.source, prepared, prepared.spec):
        assert "s3cret" not in repr(value)
