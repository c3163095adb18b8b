"""KubernetesPodOperator: a task that runs any image in a pod of its own.

Needs a cluster. Here it runs Airflow's own image, which the node has, so that nothing is pulled.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG, __version__
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import models as k8s

with DAG(
    "kubernetes_pod_example",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"owner": "data", "retries": 1, "retry_delay": timedelta(seconds=10), "email_on_failure": False},
    tags=["example", "kubernetes"],
):
    KubernetesPodOperator(
        task_id="count",
        name="count",
        image=f"apache/airflow:{__version__}",
        cmds=["python", "-c"],
        arguments=["print(sum(range(101)))"],
        container_resources=k8s.V1ResourceRequirements(
            requests={"cpu": "100m", "memory": "64Mi"}, limits={"cpu": "500m", "memory": "256Mi"}
        ),
        image_pull_policy="IfNotPresent",
        get_logs=True,
        startup_timeout_seconds=300,
    )
