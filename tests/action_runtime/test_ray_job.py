"""What the runtime reads and changes in the environment that Ray gives to a driver."""

from __future__ import annotations

import json

import pytest

from airflow_synapse.action_runtime import ray_job
from airflow_synapse.action_runtime.ray_job import JOB_CONFIG, leave_own_package_out, submission_id

OWN = "gcs://_ray_pkg_0123abcd.zip"
OTHER = "gcs://_ray_pkg_4567cdef.zip"


@pytest.fixture(autouse=True)
def unpacked_by_ray(monkeypatch) -> None:
    monkeypatch.setattr(ray_job, "_OWN_PACKAGE", "_ray_pkg_0123abcd")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"py_modules": [OWN]}, {}),
        ({"py_modules": [OWN, OTHER], "pip": ["x"]}, {"py_modules": [OTHER], "pip": ["x"]}),
        ({"py_modules": [OTHER]}, {"py_modules": [OTHER]}),
        ({"working_dir": OTHER}, {"working_dir": OTHER}),
        ({}, {}),
    ],
)
def test_own_package_is_left_out_and_nothing_else(given, left) -> None:
    """``ray.init`` finds what the plugin asked for, with the job's metadata."""
    environ = {JOB_CONFIG: json.dumps({"runtime_env": given, "metadata": {"a": "b"}})}

    leave_own_package_out(environ)

    assert json.loads(environ[JOB_CONFIG]) == {"runtime_env": left, "metadata": {"a": "b"}}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"runtime_env": []}', "{}"])
def test_what_is_not_ray_s_is_left_as_it_is(text) -> None:
    """Another Ray may write it otherwise."""
    environ = {JOB_CONFIG: text}

    leave_own_package_out(environ)

    assert environ == {JOB_CONFIG: text}


def test_without_ray_nothing_is_set() -> None:
    """A local run has no such variable."""
    environ: dict[str, str] = {}

    leave_own_package_out(environ)

    assert environ == {}


@pytest.mark.parametrize(
    ("text", "job_id"),
    [
        ('{"metadata": {"job_submission_id": "j"}}', "j"),
        ('{"metadata": {"job_submission_id": "../j"}}', None),
        ('{"metadata": {"job_submission_id": 7}}', None),
        ('{"metadata": null}', None),
        ("{", None),
    ],
)
def test_job_id_is_read_if_it_can_be_one(monkeypatch, text, job_id) -> None:
    """It becomes part of a file's name."""
    monkeypatch.setenv(JOB_CONFIG, text)

    assert submission_id() == job_id
