"""Verdicts without a cluster: the agent's own parser, in a Python that has Airflow."""
