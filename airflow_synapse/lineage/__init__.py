"""Reports the jobs behind tasks to Airflow's asset events and to OpenLineage."""
