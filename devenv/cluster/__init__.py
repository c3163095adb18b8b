"""The Kubernetes API: connection, server-side apply, watch, exec, port forward, kubectl."""
