"""Airflow on a minikube of its own, on this machine."""
