"""Tasks that get secrets in every way there is, and end in every way, too."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG

from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.sensors.ray_job import RayJobSensor

PLUGIN = Path(__file__).parent / "plugin"
SECRET = "{{ var.value.planted }}"

for name, deferrable in (("triggerer", True), ("worker", False)):
    with DAG(
        f"keeps_secrets_in_{name}",
        schedule=None,
        default_args={
            "ray_conn_id": "ray_guarded",
            "deferrable": deferrable,
            "poll_interval": 1,
            "retries": 0,
        },
    ):
        command = SubmitRayJobOperator(
            task_id="command",
            entrypoint='test -n "$ONE" && test -n "$TWO" && exit 3',
            env={"ONE": f"one-{SECRET}"},
            runtime_env={"env_vars": {"TWO": f"two-{SECRET}"}},
        )
        SubmitRayJobOperator.partial(
            task_id="mapped",
            env={"ONE": f"one-{SECRET}"},
            runtime_env={"env_vars": {"TWO": f"two-{SECRET}"}},
        ).expand(
            entrypoint=[
                'case "$ONE" in one-planted*) case "$TWO" in two-planted*) exit 0;; esac;; esac; exit 1'
            ]
        )
        SubmitPluginActionOperator(
            task_id="action",
            action_name="talk",
            action_params={"lines": 3, "size": 10},
            working_dir=PLUGIN,
            env={"ONE": f"one-{SECRET}"},
        )
        SubmitPluginActionOperator(
            task_id="bad_action",
            action_name="no such action",
            working_dir=PLUGIN,
            env={"ONE": f"one-{SECRET}"},
        )
        SubmitRayJobOperator(
            task_id="bad_env", entrypoint="true", env={"ONE": f"one-{SECRET}", "": "x"}
        )
        SubmitRayJobOperator(
            task_id="bad_runtime_env",
            entrypoint="true",
            runtime_env={"env_vars": {"TWO": [f"two-{SECRET}"]}, "no_such_field": f"x-{SECRET}"},
        )
        SubmitRayJobOperator(
            task_id="wrong_token", entrypoint="true", ray_conn_id="ray_wrong_token"
        )
        SubmitRayJobOperator(
            task_id="unreachable",
            entrypoint="true",
            ray_conn_id="ray_nowhere",
            unreachable_timeout=1,
        )
        RayJobSensor(task_id="sense", job_id="no-such-job")
