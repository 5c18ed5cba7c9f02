"""A Kubernetes of real parts with KubeRay on this machine; only its node is ours. Not shipped."""
