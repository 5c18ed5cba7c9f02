"""Runs actions in a user's tests: on this machine, without Airflow and without a cluster."""

from airflow_synapse.local.running import LocalRun
from airflow_synapse.testing.actions import run_action
from airflow_synapse.testing.job_context import JobContext

__all__ = ["JobContext", "LocalRun", "run_action"]
