"""Ray clusters that KubeRay makes on Kubernetes. Imports no Airflow."""
