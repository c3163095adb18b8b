"""Policies of `[check]`, and resources that have no effect: what a team may want of each DAG, beyond what runs."""

from __future__ import annotations

from typing import Any, Iterator, List, Mapping, NamedTuple

from devenv.agent import problems

_OVERRIDES = {"pod_override", "pod_template_file", "KubernetesExecutor", "LocalKubernetesExecutor"}


class Breach(NamedTuple):
    """A policy that a DAG or task does not keep.

    Attributes:
        rule: its name in `devenv.agent.rules`.
        severity: as the settings say.
        message: for a person.
        about: the id of the DAG or task, for its place.
        hint: what to do, or "".
    """

    rule: str
    severity: str
    message: str
    about: str
    hint: str = ""


def breaches(dag: Any, check: Mapping[str, Any]) -> Iterator[Breach]:
    """What a DAG does not keep of the policies that are on.

    Args:
        dag: as the file made it.
        check: the settings of `[check]`.
    """
    tasks = list(getattr(dag, "tasks", ()))
    for name, rule, message, offends in _POLICIES:
        level = check.get(name, "off")
        guilty = [one.task_id for one in tasks if offends(dag, one)] if level in ("warning", "error") else []
        if guilty:
            whom = ", ".join(guilty[:5]) + (" …" if len(guilty) > 5 else "")
            yield Breach(rule, level, f"DAG {dag.dag_id!r}: {message} ({whom})", dag.dag_id)
    level = check.get("start_date", "off")
    if level in ("warning", "error") and _lacks_start_date(dag, tasks):
        yield Breach("policy-start-date", level, f"DAG {dag.dag_id!r}: no start_date", dag.dag_id)
    for one in tasks:
        ignored = _ignored_resources(one)
        if ignored:
            yield Breach(
                "ignored-resources",
                "warning",
                f"task {one.task_id!r}: {ignored} has no effect under KubernetesExecutor",
                one.task_id,
                f"To set cpu and memory, {problems.resources_hint()}",
            )


def _own_arguments(one: Any) -> Mapping[str, Any]:
    """The arguments that an operator was made with, `default_args` included (the same name in 2.x and 3.x)."""
    found = getattr(one, "_BaseOperator__init_kwargs", None) or getattr(one, "partial_kwargs", None)
    return found if isinstance(found, Mapping) else {}


def _lacks_retries(dag: Any, one: Any) -> bool:
    given = {**dict(dag.default_args or {}), **_own_arguments(one)}
    return not getattr(one, "retries", 0) or given.get("retry_delay") is None


def _lacks_start_date(dag: Any, tasks: List[Any]) -> bool:
    """2.x takes a DAG without a start_date only when it has no task, or each task has one; 3.x takes any."""
    if getattr(dag, "start_date", None) is not None:
        return False
    return not tasks or any(getattr(one, "start_date", None) is None for one in tasks)


_POLICIES = (
    ("retries", "policy-retries", "retries and retry_delay are not set", _lacks_retries),
    (
        "email_on_failure",
        "policy-email-on-failure",
        "email_on_failure is not False",
        lambda _dag, one: getattr(one, "email_on_failure", False) is not False,
    ),
    (
        "owner",
        "policy-owner",
        "no owner but the default",
        lambda _dag, one: getattr(one, "owner", "airflow") in ("", "airflow", None),
    ),
)


def _ignored_resources(one: Any) -> str:
    """What of a task's resources this release ignores, in words; "" when nothing."""
    given = _own_arguments(one)
    if given.get("resources"):
        return "resources="
    operator = getattr(one, "op_kwargs", None)
    if isinstance(operator, Mapping) and "kubernetes_resources" in operator:
        return "kubernetes_resources="
    config = getattr(one, "executor_config", None)
    if isinstance(config, Mapping) and config and not set(config) & _OVERRIDES:
        return f"executor_config with {', '.join(sorted(map(str, config)))}"
    if isinstance(config, Mapping) and isinstance(config.get("KubernetesExecutor"), Mapping):
        return "executor_config={'KubernetesExecutor': …}"
    return ""
