"""Any Kubernetes context that the user names."""
