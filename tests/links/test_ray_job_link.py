"""The button that leads to the job's page."""

from __future__ import annotations

from unittest import mock

import pytest

from airflow_synapse.exceptions import ActionNotFoundError
from airflow_synapse.links import ray_job as link_module
from airflow_synapse.links.ray_job import RayJobLink
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from tests.operators.task_instance import TaskInstance


@pytest.fixture
def airflow_xcom() -> mock.MagicMock:
    """Airflow's XComs, as a task that has ended asks for them."""
    with mock.patch.object(link_module, "XCom", autospec=True) as xcom:
        xcom.get_value.return_value = "http://head:8265/#/jobs/j"
        yield xcom


def test_task_that_failed_before_it_had_a_job_asks_for_no_xcom(
    airflow_xcom: mock.MagicMock, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow would log an error for an XCom that is not there, below the one that matters."""
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", "ray://head:8265")
    (tmp_path / "config.yaml").write_text("name: p\nactions: {run: {entrypoint: 'm:run'}}")
    operator = SubmitPluginActionOperator(task_id="t", action_name="rnu", working_dir=tmp_path)

    with pytest.raises(ActionNotFoundError):
        operator.execute({"ti": TaskInstance()})

    assert RayJobLink().get_link(operator, ti_key=None) == ""
    airflow_xcom.get_value.assert_not_called()


def test_task_that_comes_back_from_its_deferral_finds_its_link(
    airflow_xcom: mock.MagicMock,
) -> None:
    """The process that resumes a task has not submitted its job; the XCom tells."""
    operator = SubmitPluginActionOperator(task_id="t", action_name="run", working_dir="p")

    assert RayJobLink().get_link(operator, ti_key=None) == "http://head:8265/#/jobs/j"
