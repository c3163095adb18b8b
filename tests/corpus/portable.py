"""The same names on Airflow 2 and 3, so that a case says nothing of imports that are not its point."""

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG, BaseHook, Variable, dag, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import dag, task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
    from airflow.operators.bash import BashOperator
    from airflow.operators.empty import EmptyOperator
    from airflow.operators.python import PythonOperator

__all__ = ["DAG", "BaseHook", "BashOperator", "EmptyOperator", "PythonOperator", "Variable", "dag", "task"]
