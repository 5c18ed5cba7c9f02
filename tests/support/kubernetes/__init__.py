"""A Kubernetes API server for fast tests."""
