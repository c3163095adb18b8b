"""Runs tasks outside of Airflow's executor, in forks of a process that has Airflow imported: `devenv test`."""
