"""The tab "Ray job" of a task instance in Airflow's UI."""
