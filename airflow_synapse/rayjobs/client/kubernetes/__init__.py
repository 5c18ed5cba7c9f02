"""What is different if the way to a Ray dashboard leads through the API server of a Kubernetes cluster."""
