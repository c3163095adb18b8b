"""Airflow's local settings on devenv's local backend; copied into its home, run by its Python, not by devenv.

A task that needs Kubernetes fails with one clear sentence, instead of after a long look for a cluster.
"""

KUBERNETES_MODULES = ("airflow.providers.cncf.kubernetes.", "airflow.contrib.operators.kubernetes")


def _refuse(self, context, *args, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ARG001
    try:
        from airflow.sdk.exceptions import AirflowFailException
    except ImportError:
        from airflow.exceptions import AirflowFailException

    message = (
        f"{type(self).__name__} {self.task_id!r} needs Kubernetes, which the local backend does not have: "
        "run this DAG on minikube (devenv up --backend minikube)."
    )
    raise AirflowFailException(message)


def task_policy(task):  # type: ignore[no-untyped-def]
    """Called with every operator of every DAG that is parsed."""
    operator = getattr(task, "operator_class", None) or type(task)
    if not isinstance(operator, type) or getattr(operator, "_devenv_refuses", False):
        return
    if any(base.__module__.startswith(KUBERNETES_MODULES) for base in operator.__mro__):
        operator._devenv_refuses = True  # type: ignore[attr-defined]  # noqa: SLF001
        operator.execute = _refuse  # type: ignore[attr-defined]
