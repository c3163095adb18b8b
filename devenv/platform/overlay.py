"""The overlay: what this project's settings change in `minikube/base`, as files that a person can read and apply.

`.devenv/overlay` is complete (kustomize reads nothing outside of it, so the base is copied into it):
`kubectl apply -k .devenv/overlay` does what devenv does, but for the Secret `vault-seed`. Every value that changes what
a pod runs on ends up in a ConfigMap whose name changes with its content, and so restarts just the pods that mount it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from devenv import dag_environment, process
from devenv.airflow.configuration import airflow_config, cluster_layout, render
from devenv.airflow.releases import Release
from devenv.cluster.objects import (
    DATABASE_CLAIM,
    ENVIRONMENT_LABEL,
    FOLDER_ANNOTATION,
    RELEASE_ANNOTATION,
    Object,
    Objects,
)
from devenv.components import BASE, BY_NAME
from devenv.origins.folders import python_path
from devenv.project import Project
from devenv.resources import platform_folder
from devenv.settings.schema import Settings
from devenv.sync import plugins
from devenv.sync.roots import roots_of

_BASE_NAMESPACE = "airflow"
_FROM_CONFIGMAP = "minikube/components/configmap-dags"
_POSTGRES_SECRETS = "postgres/secrets.json"
_HOME = "/opt/airflow"
_ENVIRONMENT = "project-environment"
_ENVIRONMENT_FILE = f"{_ENVIRONMENT}.yaml"
_SECONDS_FOR_TASKS = 60
"""How long a scheduler that runs tasks itself may take to end them."""
_HEADING = "# Written by devenv from devenv.toml at each `devenv up`; a change here is lost."


def write_overlay(project: Project, *, airflow_image: str, folder: Path | None = None, parsed_files: int = 0) -> Path:
    """Writes the overlay of a project, over an older one.

    Args:
        project: the project with its settings.
        airflow_image: what Airflow's pods run: the release's image, or the one built on top of it.
        folder: where to; without it `.devenv/overlay` in the project.
        parsed_files: how many Python files the DAG folder has, see `airflow_config`.

    Returns:
        The folder, for `kubectl apply -k` and `render_overlay`.

    Raises:
        OptionsUnknown, ExecutorUnknown: the settings do not fit the release.
    """
    folder = folder or project.make_state_folder() / "overlay"
    settings = project.settings
    release = Release(settings.airflow.version)
    environment = _environment_secret(project)
    texts = {
        "airflow.cfg.template": _airflow_cfg(settings, parsed_files),
        "pod-template.yaml": _yaml(_pod_template(project, airflow_image, environment)),
        "secrets.json": _secrets_list(settings),
        _POSTGRES_SECRETS: _secrets_list(settings, role="postgres"),
        "kustomization.yaml": _yaml(_kustomization(project, release, airflow_image, environment)),
    }
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / _ENVIRONMENT_FILE).unlink(missing_ok=True)  # it may hold passwords that nothing needs any more
    if environment is not None:
        texts[_ENVIRONMENT_FILE] = _yaml(environment)
    copy = folder / "minikube"
    if copy.exists():
        shutil.rmtree(copy)
    shutil.copytree(platform_folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def render_overlay(folder: Path, kubectl: Sequence[str], variables: Mapping[str, str] | None = None) -> Objects:
    """The objects of an overlay (or of the base), as kustomize makes them.

    Args:
        folder: what `write_overlay` returned.
        kubectl: how to run kubectl: `["kubectl"]`, or `["minikube", "kubectl", "--"]`.
        variables: its environment; without it, devenv's own.

    Raises:
        ProgramMissing, CommandFailed: there is no kubectl, or kustomize refuses the files.
    """
    import yaml

    rendered = process.run([*kubectl, "kustomize", str(folder)], variables=variables)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [item for item in yaml.load_all(rendered.stdout, Loader=loader) if item]


def _yaml(content: Mapping[str, Any]) -> str:
    import yaml

    return f"{_HEADING}\n{yaml.safe_dump(dict(content), sort_keys=False, width=120)}"


def _airflow_cfg(settings: Settings, parsed_files: int) -> str:
    additions = {section: options for part in settings.parts for section, options in BY_NAME[part].options.items()}
    config = airflow_config(settings, cluster_layout(settings), parsed_files=parsed_files, additions=additions)
    return render(config, heading=_HEADING.removeprefix("# "))


def _secrets_list(settings: Settings, role: str = "") -> str:
    """What pods fetch; what those of one role do, which changes only with that."""
    from devenv.vault.layout import secrets_list

    listing = secrets_list(settings.vault, settings.parts)
    if role:
        listing["secrets"] = [secret for secret in listing["secrets"] if role in secret.get("roles", ())]
    return json.dumps(listing, indent=2) + "\n"


def _kustomization(
    project: Project, release: Release, airflow_image: str, environment: Object | None
) -> dict[str, Any]:
    settings = project.settings
    used = _used_images(settings)
    images = {setting: getattr(settings.images, setting) for setting in used} | {"airflow": airflow_image}
    content: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": settings.kubernetes.namespace,
        "resources": ["minikube/base"],
    }
    if environment is not None:
        content["resources"].append(_ENVIRONMENT_FILE)
    components = ["minikube/components/airflow-3"] if release.is_3 else []
    components += [f"minikube/components/{part}" for part in settings.parts]
    if settings.sync.transport == "configmap":
        components.append(_FROM_CONFIGMAP)
    if components:
        content["components"] = components
    content |= {
        "labels": [
            {"pairs": {ENVIRONMENT_LABEL: project.identifier}, "includeTemplates": True, "includeSelectors": False}
        ],
        "commonAnnotations": {FOLDER_ANNOTATION: str(project.folder)},
        "images": [{"name": name, **_image(images[setting])} for setting, name in used.items()],
        "configMapGenerator": list(_config_maps(project)),
        "patches": list(_patches(project, release, environment)),
    }
    return content


def _used_images(settings: Settings) -> dict[str, str]:
    """Setting under `[images]` → the name that the manifests have for it."""
    switched_on = (BASE, *(BY_NAME[part] for part in settings.parts))
    return {setting: name for component in switched_on for setting, name in component.images.items()}


def _components(settings: Settings, release: Release) -> tuple[str, ...]:
    """The pods that run Airflow, besides the agent's and tasks'."""
    return (*release.components, "worker") if "celery" in settings.parts else release.components


def _image(reference: str) -> dict[str, str]:
    """An image as kustomize wants it, in parts: `registry:5000/team/airflow:2.7.2@sha256:…`."""
    name, _, digest = reference.partition("@")
    head, slash, tail = name.rpartition("/")
    tail, _, tag = tail.partition(":")
    parts = {"newName": f"{head}{slash}{tail}"}
    if digest:
        return parts | {"digest": digest}
    return parts | {"newTag": tag or "latest"}


def _config_maps(project: Project) -> Iterator[dict[str, Any]]:
    settings = project.settings
    files = {
        "airflow-config": ["airflow.cfg.template", "pod-template.yaml"],
        "task-config": ["airflow.cfg.template", "pod-template.yaml"],
        "devenv-programs": ["secrets.json"],
        "task-programs": ["secrets.json"],
        "postgres-programs": [_POSTGRES_SECRETS],
    }
    for name, paths in files.items():
        yield {"name": name, "namespace": _BASE_NAMESPACE, "behavior": "merge", "files": paths}
    if settings.sync.folders or settings.sync.python_path:
        literals = [f"PYTHONPATH={':'.join(python_path(project.folder, settings.sync, _HOME))}"]
        revision = plugins.known_revision(project)
        for name in ("airflow-environment", "task-environment"):
            # Not of task pods: each starts with the plugins that are there.
            more = [f"DEVENV_PLUGINS={revision}"] if revision and name == "airflow-environment" else []
            yield {"name": name, "namespace": _BASE_NAMESPACE, "behavior": "merge", "literals": [*literals, *more]}


def _patches(project: Project, release: Release, environment: Object | None) -> Iterator[dict[str, Any]]:
    settings = project.settings
    namespace = settings.kubernetes.namespace
    yield _annotations("PersistentVolumeClaim", DATABASE_CLAIM, {RELEASE_ANNOTATION: release.version})
    yield _patch(
        "ClusterRoleBinding",
        "vault-auth-delegator.airflow",
        ("replace", "/metadata/name", f"vault-auth-delegator.{namespace}"),
        ("replace", "/subjects/0/namespace", namespace),
    ) | {"options": {"allowNameChange": True}}
    yield from _folder_patches(project, release)
    if environment is not None:
        source = ("add", "/spec/template/spec/containers/0/envFrom/-", _reference(environment))
        for component in (*_components(settings, release), "agent"):
            yield _patch("Deployment", component, source)
    if settings.airflow.schedulers > 1:
        yield _patch("Deployment", "scheduler", ("replace", "/spec/replicas", settings.airflow.schedulers))
    if cluster_layout(settings).executor in ("LocalExecutor", "SequentialExecutor"):
        # Tasks run inside the scheduler, and may start pods as task pods may.
        subject = {"kind": "ServiceAccount", "name": "scheduler", "namespace": namespace}
        yield _patch("RoleBinding", "task", ("add", "/subjects/-", subject))
        grace = ("replace", "/spec/template/spec/terminationGracePeriodSeconds", _SECONDS_FOR_TASKS)
        yield _patch("Deployment", "scheduler", grace)
    if settings.images.pull_secret:
        # On the accounts, so that it reaches task pods too.
        secrets = [{"name": settings.images.pull_secret}]
        yield _patch("ServiceAccount", None, ("add", "/imagePullSecrets", secrets))
    if settings.kubernetes.service_account_annotations:
        annotations = dict(settings.kubernetes.service_account_annotations)
        for account in (*_components(settings, release), "agent", "task"):
            yield _annotations("ServiceAccount", account, annotations)
    if settings.kubernetes.storage_class:
        storage_class = settings.kubernetes.storage_class
        yield _patch("PersistentVolumeClaim", None, ("add", "/spec/storageClassName", storage_class))
    if settings.backend == "kubernetes":
        # Ports of the nodes belong to everybody on that cluster; devenv forwards instead.
        for service in (release.page, "vault"):
            yield _patch(
                "Service", service, ("replace", "/spec/type", "ClusterIP"), ("remove", "/spec/ports/0/nodePort", None)
            )


def _folder_patches(project: Project, release: Release) -> Iterator[dict[str, Any]]:
    """What pods have of the folders beside the DAG folder, and of entries of PYTHONPATH within it."""
    settings = project.settings
    if settings.sync.folders:
        mounts = [
            ("add", "/spec/template/spec/containers/0/volumeMounts/-", _mount(root.name))
            for root in roots_of(project)
            if root.name != "dags"
        ]
        for component in (*_components(settings, release), "agent"):
            yield _patch("Deployment", component, *mounts)
    below_dags = [f"{_HOME}/{path}" for path in settings.sync.python_path if path.startswith("dags/")]
    if below_dags and settings.sync.transport != "configmap":
        made = ("add", "/spec/template/spec/initContainers/-", _makes_folders(below_dags))
        for component in _components(settings, release):
            yield _patch("Deployment", component, made)


def _environment_secret(project: Project) -> Object | None:
    """The project's variables; None where there are none. A Secret, not a ConfigMap: a `.env` often holds passwords.

    Its name changes with its content, which restarts the pods.
    """
    variables = dag_environment.variables(project)
    if not variables:
        return None
    digest = hashlib.sha256(json.dumps(variables, sort_keys=True).encode()).hexdigest()[:10]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{_ENVIRONMENT}-{digest}", "namespace": _BASE_NAMESPACE},
        "stringData": variables,
    }


def _reference(secret: Object) -> dict[str, Any]:
    return {"secretRef": {"name": secret["metadata"]["name"]}}


def _patch(kind: str, name: str | None, *operations: tuple[str, str, Any]) -> dict[str, Any]:
    """A JSON patch (RFC 6902) of one object, or of all of a kind."""
    target = {"kind": kind} | ({"name": name} if name else {})
    steps = [
        {"op": operation, "path": path} | ({} if operation == "remove" else {"value": value})
        for operation, path, value in operations
    ]
    return {"target": target, "patch": _json_text(steps)}


def _annotations(kind: str, name: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    """A patch that adds annotations to an object of the core API."""
    changed = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "annotations": dict(annotations)}}
    return {"target": {"kind": kind, "name": name}, "patch": _json_text(changed)}


def _json_text(content: object) -> str:
    return json.dumps(content)


def _mount(name: str) -> dict[str, Any]:
    return {"name": "dags", "mountPath": f"{_HOME}/{name}", "subPath": name, "readOnly": True}


def _makes_folders(folders: Sequence[str]) -> dict[str, Any]:
    """An init container for entries of PYTHONPATH within the DAG folder, which is empty when an environment is new.

    Python remembers of a folder on its path that it is not there, and finds nothing in it later.
    """
    return {
        "name": "python-path",
        "image": "apache/airflow",  # kustomize puts the right one in its place
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "command": ["mkdir", "-p", "--", *folders],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [_mount("dags") | {"readOnly": False}],
    }


def _pod_template(project: Project, airflow_image: str, environment: Object | None) -> Object:
    """A task pod's manifest; kustomize does not look into a ConfigMap, so it is changed here."""
    import yaml

    settings = project.settings
    part = Path(_FROM_CONFIGMAP).relative_to("minikube") if settings.sync.transport == "configmap" else "base"
    path = platform_folder() / part / "pod-template.yaml"
    pod: Object = yaml.safe_load(path.read_text(encoding="utf-8"))
    pod["metadata"]["labels"][ENVIRONMENT_LABEL] = project.identifier
    pod["metadata"]["annotations"] = {FOLDER_ANNOTATION: str(project.folder)}
    for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        container["image"] = airflow_image
    pod["spec"]["containers"][0]["volumeMounts"] += [
        _mount(root.name) for root in roots_of(project) if root.name != "dags"
    ]
    if environment is not None:
        pod["spec"]["containers"][0]["envFrom"].append(_reference(environment))
    if "monitoring" in settings.parts:
        # A task pod must be able to end, so it has no side-car.
        pod["spec"]["containers"][0]["env"].append({"name": "AIRFLOW__METRICS__STATSD_HOST", "value": "statsd"})
    return pod
