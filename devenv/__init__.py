"""devenv: Airflow on Kubernetes on your laptop, with a verdict on every save."""

__version__ = "0.1.0"
