"""Resources of one task: `executor_config` with a pod override.

This is what KubernetesExecutor reads. `@task(resources=…)` is something else and changes no pod. Other executors
ignore an override.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.decorators import dag, task
from kubernetes.client import models as k8s

BIG = {
    "pod_override": k8s.V1Pod(
        spec=k8s.V1PodSpec(
            containers=[
                k8s.V1Container(
                    name="base",  # the container of the task is always called so
                    resources=k8s.V1ResourceRequirements(
                        requests={"cpu": "250m", "memory": "512Mi"}, limits={"cpu": "1", "memory": "1536Mi"}
                    ),
                )
            ]
        )
    )
}


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"owner": "data", "retries": 1, "retry_delay": timedelta(seconds=10), "email_on_failure": False},
    tags=["example", "kubernetes"],
)
def task_resources():
    @task
    def usual() -> int:
        return 1_000_000

    @task(executor_config=BIG)
    def big(count: int) -> int:
        return len(list(range(count)))

    big(usual())


task_resources()
