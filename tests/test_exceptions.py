"""Errors write their own sentences and survive pickling."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from typing import Any

import pytest

from airflow_synapse import exceptions
from airflow_synapse.exceptions import (
    ActionNotFoundError,
    ActionParamsError,
    AirflowSynapseError,
    ExecutionError,
    JobIdConflictError,
    PluginManifestError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobEntrypointError,
    RayJobFailedError,
    RayJobNotFoundError,
    RayJobStoppedError,
    RayJobSubmissionError,
)

CLUSTER = "http://head:8265"


def all_errors() -> list[type[AirflowSynapseError]]:
    return [
        kind
        for _, kind in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(kind, AirflowSynapseError)
    ]


def an_error(kind: type[AirflowSynapseError]) -> AirflowSynapseError:
    """Make an error of this class with all the facts it takes."""
    values: dict[str, Any] = {
        "http_status": 401,
        "exit_code": 3,
        "last_lines": ["one", "two"],
        "known": ["train"],
        "problems": {"params.lr": "is not a number"},
        "retry_after": 2.0,
        "tried_for": 15.0,
    }
    names = inspect.signature(kind.__init__).parameters
    facts = {name: values.get(name, f"<{name}>") for name in names if name not in ("self", "facts")}
    return kind(**facts)


SENTENCES = [kind for kind in all_errors() if kind is not AirflowSynapseError]


def test_tree_in_the_docstring_is_the_tree() -> None:
    """The docstring draws every class below its parent, and no other."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for prefix, name in re.findall(r"^ {4}([│├└─ ]*)(\w+Error)", exceptions.__doc__ or "", re.M):
        path[len(prefix) // 4 :] = [name]
        drawn[name] = path[-2] if len(path) > 1 else "Exception"

    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in all_errors()}


@pytest.mark.parametrize("kind", SENTENCES, ids=lambda kind: kind.__name__)
def test_error_tells_its_facts_and_survives_pickling(kind: type[AirflowSynapseError]) -> None:
    """An error crosses processes with its class, its facts and its sentence."""
    error = an_error(kind)

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert "None" not in str(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            RayClusterUnreachableError(cluster=CLUSTER, reason="the connection was refused"),
            (
                "The Ray cluster at http://head:8265 is unreachable: the connection was refused. Check "
                "that the head node is up and that this machine can reach its dashboard port."
            ),
        ),
        (
            RayAddressError(address="head", reason="it must start with http:// or https://"),
            (
                "'head' can't be used as the address of a Ray dashboard: it must start with http:// or "
                "https://. Use a URL such as http://head-node:8265."
            ),
        ),
        (
            JobIdConflictError(job_id="j", cluster=CLUSTER, reason="it is RUNNING"),
            (
                "Another job on http://head:8265 already has the submission ID j: it is RUNNING. "
                "Nothing was started. Choose another job_id."
            ),
        ),
        (
            RayJobNotFoundError(job_id="j", cluster=CLUSTER),
            (
                "Ray job j on http://head:8265 does not exist, or no longer does. A head node forgets its "
                "jobs when it restarts. Also check that the connection points to the right cluster."
            ),
        ),
        (
            RayJobSubmissionError(job_id="a/b", reason="a submission ID can't contain a slash"),
            "The Ray job 'a/b' was not submitted: a submission ID can't contain a slash.",
        ),
        (
            ActionNotFoundError(action_name="trian", plugin="digits", known=["train", "prepare"]),
            (
                "Plugin digits has no action 'trian'. Available actions: prepare, train. You can also give "
                "an entrypoint as package.module:attribute."
            ),
        ),
        (
            ActionParamsError(problems={"params.lr": "is NaN", "params.x": "is a set"}),
            "The params can't be used: params.lr is NaN; params.x is a set.",
        ),
        (
            PluginManifestError(path="p/config.yaml", reason="there is no such file"),
            "p/config.yaml: there is no such file.",
        ),
        (
            RayJobFailedError(job_id="j", message="Killed", last_lines=["the only line"]),
            (
                "Ray job j FAILED: Killed\nSee Ray's message and the job's log for details.\n"
                "The end of its log (1 line):\n    the only line"
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sentence(error: AirflowSynapseError, text: str) -> None:
    """Each error says what happened, on what, and what to do."""
    assert str(error) == text


def test_authentication_error_says_what_to_check() -> None:
    """401 asks for credentials, 403 for other ones."""
    assert "Set the connection's password" in str(
        RayAuthenticationError(cluster=CLUSTER, http_status=401)
    )
    assert "The token is wrong" in str(RayAuthenticationError(cluster=CLUSTER, http_status=403))


def test_authentication_error_says_what_was_tried() -> None:
    """Who reads it learns for how long credentials were read again, and that the job goes on."""
    facts: dict[str, Any] = {
        "cluster": CLUSTER,
        "http_status": 401,
        "tried_for": 120.2,
        "job_id": "j",
    }

    refused = str(RayAuthenticationError(**facts))
    broken = str(RayAuthenticationError(**facts, trouble="the file is empty"))

    assert "They were read again for 120 s, and refused each time. Job j may still be" in refused
    assert "They were read again for 120 s, but the file is empty. Job j may still be" in broken


def test_failed_job_ends_with_its_last_lines() -> None:
    """The last 20 lines of the log stand at the end, and Ray's own copy of them is left out."""
    message = "Job failed with exit code 1, last available logs (truncated to 20,000 chars):\nnoise"
    error = RayJobEntrypointError(
        job_id="j",
        cluster=CLUSTER,
        error_type="JOB_ENTRYPOINT_COMMAND_ERROR",
        exit_code=1,
        message=message,
        last_lines=[f"line {number}" for number in range(30)],
    )

    text = str(error)

    assert text.startswith(
        "Ray job j on http://head:8265 FAILED (error type JOB_ENTRYPOINT_COMMAND_ERROR, exit code "
        "1): Job failed with exit code 1\n"
    )
    assert "noise" not in text
    assert "line 9\n" not in text
    assert text.endswith("    line 28\n    line 29")


def test_failed_job_without_log_shows_ray_s_message() -> None:
    """Where there is no log, the whole of Ray's message is there."""
    error = RayJobFailedError(job_id="j", message="runtime_env setup failed: no such package")

    assert "FAILED: runtime_env setup failed: no such package" in str(error)


def test_seed_api_s_errors_have_one_base() -> None:
    """Whoever catches ExecutionError catches every error about one job."""
    assert issubclass(RayJobStoppedError, ExecutionError)
    assert not issubclass(RayClusterUnreachableError, ExecutionError)


def test_errors_need_neither_airflow_nor_ray() -> None:
    """Reading a pickled error in another process loads nothing heavy."""
    code = "import sys, airflow_synapse.exceptions; print({'airflow', 'ray', 'aiohttp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
