"""What can be set. The descriptions here are the reference in the documentation.

A setting whose default is None is not passed on: minikube's own configuration and `MINIKUBE_*` then rule.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from devenv.components import OPTIONAL

ConfigValue = str | int | float | bool


class Section(BaseModel):
    """A table of `devenv.toml`: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@cache
def describe() -> None:
    """Makes the docstring below each setting its `description`, for the reference, `devenv init` and errors.

    Pydantic's `use_attribute_docstrings` would do it at each start of devenv, and read this file once for each class,
    which takes 100 ms.
    """
    parsed = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    classes = {node.name: node.body for node in parsed.body if isinstance(node, ast.ClassDef)}
    for section in Section.__subclasses__():
        body = classes[section.__name__]
        for setting, below in itertools.pairwise(body):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Constant):
                section.model_fields[ast.unparse(setting.target)].description = inspect.cleandoc(str(text.value))


def _kubernetes_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
        message = "must be a Kubernetes name: lower-case letters, digits and '-', at most 63 characters"
        raise ValueError(message)
    return value


def _release(value: str) -> str:
    if not re.fullmatch(r"latest|[23]|(2\.([7-9]|1[01])|3\.[0-9]+)(\.[0-9]+((a|b|rc)[0-9]+)?)?", value):
        message = "must be a release from 2.7.0 on (2.7.2, 3.4.0b2), a series of them (2.10, 3), or latest"
        raise ValueError(message)
    return value


def _inside(value: str) -> str:
    if not value or value.startswith(("/", "~")) or ".." in Path(value).parts:
        message = "must be a path inside the project"
        raise ValueError(message)
    return value


KubernetesName = Annotated[str, AfterValidator(_kubernetes_name)]
InsideFolder = Annotated[str, AfterValidator(_inside)]
Port = Annotated[int, Field(ge=1, le=65535)]


VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class AirflowSettings(Section):
    """`[airflow]`: which Airflow, and how it is configured."""

    version: Annotated[str, AfterValidator(_release)] = "2.7.2"
    """Airflow's release: `2.10.5`; or `2.10`, `3`, `latest`: the newest that there is at the first `devenv up`. Without
    it, the one that the project's Dockerfile, compose file or constraints name."""
    executor: Literal["KubernetesExecutor", "LocalExecutor", "SequentialExecutor", "CeleryExecutor"] | None = None
    """Who runs tasks; without it KubernetesExecutor in a cluster and LocalExecutor on the local backend."""
    schedulers: Annotated[int, Field(ge=1, le=8)] = 1
    """How many schedulers run; more than one is the `ha` component."""
    user: str = "admin"
    """The admin user of Airflow's page; the password is generated, or seeded at `airflow/admin`."""
    config: dict[str, dict[str, ConfigValue]] = Field(default_factory=dict)
    """`[airflow.config.SECTION]`: any option of `airflow.cfg`; goes over devenv's own."""
    ui_credentials_secret: bool = False
    """Keep a Kubernetes Secret `airflow-ui-creds` with the admin user, made from Vault."""
    variables_secret: bool = False
    """Keep a Kubernetes Secret `airflow-variables`, the environment of tasks, made from Vault."""
    secrets_namespace: KubernetesName | None = None
    """The namespace of those two Secrets; without it, the namespace of Airflow."""


class ImageSettings(Section):
    """`[images]`: what each component runs. An image that the laptop's Docker engine has is not pulled."""

    airflow: str | None = None
    """Airflow's image; without it `apache/airflow:VERSION`."""
    postgres: str = "postgres:15"
    """The metadata database's image."""
    vault: str = "hashicorp/vault:1.21"
    """Vault's image."""
    redis: str = "redis:7"
    """The Celery broker's image."""
    statsd_exporter: str = "prom/statsd-exporter:latest"
    """The metrics exporter's image."""
    prometheus: str = "prom/prometheus:latest"
    """Prometheus' image."""
    alertmanager: str = "prom/alertmanager:latest"
    """Alertmanager's image."""
    grafana: str = "grafana/grafana:latest"
    """Grafana's image."""
    marquez: str = "marquezproject/marquez:latest"
    """Marquez' image, for lineage."""
    pull_secret: str | None = None
    """The name of a Kubernetes Secret in the namespace with which the node pulls images."""
    build_arguments: dict[str, str] = Field(default_factory=dict)
    """`--build-arg`s for the image that is built from `requirements.txt` and `packages.txt`."""
    build_network: str | None = None
    """The network mode of that build: "host", for instance, behind a VPN."""


class MinikubeSettings(Section):
    """`[minikube]`: the cluster on the laptop. What is not given is not passed on to minikube."""

    profile: KubernetesName = "devenv"
    """minikube's profile; devenv never touches another."""
    driver: str | None = None
    """minikube's driver: docker, podman, kvm2, vfkit …"""
    cpus: Annotated[int, Field(ge=2)] | None = None
    """Processors of the node; minikube's minimum is 2."""
    memory: str | None = Field(default=None, pattern=r"^[0-9]+(\.[0-9]+)?(m|g|mb|gb|M|G|MB|GB|Mi|Gi)?$")
    """Memory of the node: "6g"."""
    kubernetes_version: str | None = None
    """Kubernetes' release: "v1.34.4", "stable"."""
    container_runtime: str | None = None
    """containerd, docker or cri-o."""
    extra_arguments: tuple[str, ...] = Field(default=(), strict=False)
    """Further arguments of `minikube start`."""


class KubernetesSettings(Section):
    """`[kubernetes]`: the objects in the cluster, on either cluster backend."""

    namespace: KubernetesName = "airflow"
    """Where everything lives."""
    context: str | None = None
    """The context of `backend = "kubernetes"`; must be named, the current one is never used."""
    storage_class: str | None = None
    """The storage class of the claims; RWX where there is more than one node."""
    image_registry: str | None = None
    """Where images are pushed for a cluster that is not on this machine: "registry.example.com/team"."""
    service_account_annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations on Airflow's service accounts (workload identity)."""


class SyncSettings(Section):
    """`[sync]`: which folders reach the cluster, and how."""

    dags: InsideFolder = "dags"
    """The DAG folder."""
    folders: tuple[InsideFolder, ...] = Field(default=(), strict=False)
    """Further folders that are synced and put on PYTHONPATH: "plugins", "include". Without it, those two where they lie
    beside the DAG folder, folders there that DAG files import from or mention, and those that a compose file or a
    Dockerfile brings below AIRFLOW_HOME."""
    python_path: tuple[InsideFolder, ...] = Field(default=(), strict=False)
    """Further entries of PYTHONPATH, as paths from AIRFLOW_HOME: "dags/libs"; "." is AIRFLOW_HOME itself."""
    ignore: tuple[str, ...] = Field(default=(), strict=False)
    """Patterns in the manner of .gitignore, besides the built-in ones; "!pattern" takes one back."""
    transport: Literal["agent", "kubectl-exec", "kubectl-cp", "configmap"] = "agent"
    """How bytes travel: over one open WebSocket, over `kubectl exec -i`, by `kubectl cp`, or in a ConfigMap."""
    watcher: Literal["auto", "native", "polling"] = "auto"
    """How changes are noticed; auto polls where native events do not work."""
    poll_seconds: Annotated[float, Field(gt=0, le=60, strict=False)] = 1.0
    """How often the polling watcher looks."""


class PortSettings(Section):
    """`[ports]`: where things answer on 127.0.0.1. A taken port is replaced by the next free one, and remembered."""

    airflow: Port = 8080
    """Airflow's page and API."""
    vault: Port = 8200
    """Vault."""
    grafana: Port = 3000
    """Grafana, with the monitoring component."""
    prometheus: Port = 9090
    """Prometheus, with the monitoring component."""
    flower: Port = 5555
    """Flower, with the Celery component."""


class SecretFile(Section):
    """`[vault.secrets.NAME]`: a path in Vault and the env file that an Airflow pod finds."""

    path: str = Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")
    """The path under the KV mount: "warehouse/reader"."""
    file: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.env$")
    """The file's name under /etc/airflow: "warehouse.env"."""
    keys: tuple[str, ...] = Field(default=(), strict=False)
    """Keys that must be there; a missing one is named when a pod starts."""
    defaults: dict[str, str] = Field(default_factory=dict)
    """Values for keys that the seeds do not give. No secrets: this file is committed."""


class VaultSettings(Section):
    """`[vault]`: the dev Vault and what is in it."""

    mount: KubernetesName = "secret"
    """The KV version 2 mount."""
    seeds: str | None = None
    """A 0600 file outside the repository with the seeds; without it, the one that `devenv secrets` keeps."""
    pull: tuple[str, ...] = Field(default=(), strict=False)
    """What `devenv secrets pull` may take from a deployed environment: "connections/warehouse_*", "variables/*"."""
    secrets: dict[KubernetesName, SecretFile] = Field(default_factory=dict)
    """Further secrets, beside the platform's kyuubi/database, postgres/airflow and slack/webhook."""


RuleLevel = Literal["off", "warning", "error"]


def _rule(value: str) -> str:
    from devenv.agent.rules import BY_NAME

    if value not in BY_NAME:
        message = f"must be the name of a rule: {', '.join(sorted(BY_NAME))}"
        raise ValueError(message)
    return value


RuleName = Annotated[str, AfterValidator(_rule)]


class CheckSettings(Section):
    """`[check]`: the policies that a verdict applies, besides what Airflow itself refuses."""

    retries: RuleLevel = "off"
    """`retries` and `retry_delay` are set."""
    email_on_failure: RuleLevel = "off"
    """`email_on_failure` is False."""
    owner: RuleLevel = "off"
    """An owner is set, and not the default."""
    start_date: RuleLevel = "off"
    """A `start_date` is set."""
    top_level_io: RuleLevel = "warning"
    """No network or database call while the file is parsed."""
    slow_top_level: RuleLevel = "warning"
    """Parsing takes less than a second."""
    deprecated_import: RuleLevel = "warning"
    """No import that this release or the next has deprecated."""
    ignore: tuple[RuleName, ...] = Field(default=(), strict=False)
    """Rules that are not reported: ["top-level-io"]. What Airflow itself refuses is reported in any case."""
    parse_seconds: Annotated[float, Field(gt=0, le=600, strict=False)] = 30.0
    """How long a parse may take before it is ended and reported."""
    parse_memory: Annotated[int, Field(ge=64)] = 1024
    """MiB that a parse may use above the warm process before it is ended and reported."""


class TerminalSettings(Section):
    """`[terminal]`: what the watch does besides printing."""

    bell: bool = False
    """Ring the terminal's bell when a file breaks."""
    notify: bool = False
    """Show a desktop notification when a file breaks or is repaired."""


if TYPE_CHECKING:
    ComponentName = str
else:
    ComponentName = Literal[tuple(component.name for component in OPTIONAL if component.by == "components")]


class Settings(Section):
    """The whole of `devenv.toml`."""

    backend: Literal["auto", "minikube", "kubernetes", "local"] = "auto"
    """Where Airflow runs; auto takes minikube where Docker and minikube are there, else local."""
    name: KubernetesName | None = None
    """The environment's name; without it, made from the folder's."""
    env_file: InsideFolder = ".env"
    """A file with environment variables of DAGs and tasks, beside this one; `[environment]` goes over it."""
    requirements: InsideFolder = "requirements.txt"
    """The file with the Python packages of DAGs; paths in it start at its own folder."""
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """`[environment]`: variables that DAG files and tasks find. No secrets, since this file is committed; but names of
    secrets: "vault:team/reader#TOKEN" is the key TOKEN at team/reader in Vault."""
    components: tuple[ComponentName, ...] = Field(default=(), strict=False)
    """Further parts of the platform: "monitoring", "lineage"."""
    airflow: AirflowSettings = AirflowSettings()
    images: ImageSettings = ImageSettings()
    minikube: MinikubeSettings = MinikubeSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    sync: SyncSettings = SyncSettings()
    ports: PortSettings = PortSettings()
    vault: VaultSettings = VaultSettings()
    check: CheckSettings = CheckSettings()
    terminal: TerminalSettings = TerminalSettings()

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders of `minikube/components` that these settings switch on, besides the release's own."""
        implied = {"celery": self.airflow.executor == "CeleryExecutor", "ha": self.airflow.schedulers > 1}
        return tuple(
            component.name for component in OPTIONAL if component.name in self.components or implied.get(component.name)
        )

    @property
    def sends_lineage(self) -> bool:
        """Whether OpenLineage's provider is asked for: by the component, or by options of its own."""
        return "lineage" in self.components or "openlineage" in self.airflow.config

    @property
    def packages(self) -> tuple[str, ...]:
        """Python packages that Airflow's image needs for the components, or for options of theirs that are set."""
        return tuple(
            package
            for component in OPTIONAL
            if component.name in self.parts or set(component.options) & set(self.airflow.config)
            for package in component.packages
        )

    @property
    def airflow_image(self) -> str:
        """The image of Airflow before `requirements.txt` and `packages.txt` are added."""
        return self.images.airflow or f"apache/airflow:{self.airflow.version}"
