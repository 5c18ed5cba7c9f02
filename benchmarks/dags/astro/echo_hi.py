"""``echo hi`` as a Ray job with astro-provider-ray, which always defers."""

from airflow.sdk import DAG
from ray_provider.operators import SubmitRayJob

with DAG("echo_deferred", schedule=None):
    SubmitRayJob(
        task_id="echo",
        conn_id="ray_default",
        entrypoint="echo hi",
        runtime_env={},
        poll_interval=1,
    )
