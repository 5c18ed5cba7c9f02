"""Shows the provider at work: a real Ray, a real Airflow, the example DAGs."""
