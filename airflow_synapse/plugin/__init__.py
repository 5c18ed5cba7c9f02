"""A plugin as data: its manifest, requirements, wheels and params. Imports neither Airflow nor Ray."""
