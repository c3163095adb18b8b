"""The program that runs beside the DAG volume: standard library and Airflow only, Python 3.8 and later.

It travels as a zip over the session's standard input, so no image needs to contain it. `session` speaks with
the laptop (`frames`), `claim` writes files, `lock` keeps a second writer out. `warm` is a process of its own
that has Airflow imported, forks for each parse (`parse`), and knows which file imports which (`imports`).
"""
