"""A DAG that waits for an asset learns from the asset's event which job updated it."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, task

from airflow_synapse.operators.ray_job import SubmitRayJobOperator

# [start asset]
MODEL = Asset(name="digits_model", uri="file:///models/digits")

with DAG("asset_event", description=__doc__, schedule=None, tags=["ray", "example"]):
    SubmitRayJobOperator(
        task_id="train",
        entrypoint="echo The model is trained.",
        outlets=[MODEL],
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=5),
    )

with DAG("asset_event_publish", schedule=[MODEL], tags=["ray", "example"]):

    @task
    def publish(triggering_asset_events=None) -> str:
        """Return the job that trained the model."""
        made = triggering_asset_events[MODEL][-1].extra
        print(f"Trained by {made['job_id']} in {made['duration']} s: {made['dashboard_url']}")
        return made["job_id"]

    publish()
# [end asset]
