"""Tests of a project's DAGs with its own Airflow: a pytest plugin, for `devenv pytest` and for pytest alone."""
