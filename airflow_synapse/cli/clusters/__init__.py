"""Commands about Ray clusters on Kubernetes."""
