"""Whatever names and values hold, no shell on the cluster gets to see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.rayjobs import RayJobExecutor
from tests.support.stub_dashboard import StubDashboard

COMMAND = "python -m airflow_synapse_action_runtime"
EVIL = [
    "$(touch canary)",
    "`touch canary`",
    "'; touch canary; '",
    '" && touch canary',
    "-c",
    "\n",
    "$HOME",
]

words = st.sampled_from(EVIL) | st.text(min_size=1, max_size=20)
parts = st.lists(words, min_size=1, max_size=3).map("".join)


@pytest.fixture(scope="module")
def dashboard() -> Iterator[StubDashboard]:
    with StubDashboard() as stub:
        yield stub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin in a folder whose very name is a command."""
    folder = tmp_path_factory.mktemp("plugins") / "a $(touch canary) b"
    folder.mkdir()
    return folder


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(action=parts, entrypoint=parts, params=st.dictionaries(parts, parts, max_size=3), env=parts)
@example(action="$(touch canary)", entrypoint="a:b", params={"$(x)": "`y`"}, env="$(touch canary)")
@example(action="a", entrypoint="a:b; touch canary", params={}, env="x")
def test_command_is_always_the_same(
    dashboard: StubDashboard,
    folder: Path,
    action: str,
    entrypoint: str,
    params: dict[str, str],
    env: str,
) -> None:
    """Of all that a plugin and its user choose, nothing becomes part of the command."""
    manifest = {"name": env, "version": entrypoint, "actions": {action: {"entrypoint": entrypoint}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(manifest))
    executor = RayJobExecutor(dashboard.url, working_dir=folder, env={"VALUE": env})

    try:
        job_id = executor.submit(action, params)
    except AirflowSynapseError:
        return  # refused: nothing was sent

    assert dashboard.jobs[job_id].request["entrypoint"] == COMMAND
