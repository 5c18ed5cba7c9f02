"""What others learn of the jobs behind tasks: by Airflow's asset events and by OpenLineage."""
