"""Where Airflow runs: in Minikube, in any Kubernetes context, or as local processes."""
