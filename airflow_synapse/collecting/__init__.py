"""Finds and stops the jobs of this Airflow that nobody wants any more."""
