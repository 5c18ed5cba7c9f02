"""The commands of ``airflow ray``."""
