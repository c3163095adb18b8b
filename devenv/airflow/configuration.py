"""`airflow.cfg`: devenv's own settings per release, the user's over them, and nothing that Airflow would ignore.

What is rendered is a template: the secrets in it are names, `${FERNET_KEY}`, which the init container `secrets`
(`minikube/base/programs/fetch_secrets.py`) replaces where the processes run. A name that it does not know stays.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devenv.airflow.releases import Release, sections_ever_known, was_ever_known
from devenv.errors import DevenvError, ExitCode
from devenv.settings.schema import ConfigValue, Settings

Config = dict[str, dict[str, ConfigValue]]
"""Section → option → value."""

_PROVIDER_SECTIONS = (
    "aws",
    "celery",
    "celery_broker_transport_options",
    "celery_kubernetes_executor",
    "elasticsearch",
    "elasticsearch_configs",
    "fab",
    "imap",
    "kubernetes_environment_variables",
    "kubernetes_executor",
    "kubernetes_secrets",
    "local_kubernetes_executor",
    "openlineage",
    "opensearch",
    "smtp",
)


class OptionsUnknown(DevenvError):
    """`[airflow.config]` in `devenv.toml` holds options that this release of Airflow does not read.

    Airflow ignores such an option without a word, and 3.x does so with several of 2.x (`[core] dag_concurrency`,
    `[scheduler] min_file_process_interval`). The message lists all of them, each with the name that this release has
    for it, or the nearest one. Sections of providers and sections of your own are passed on as they are.
    """

    code = "DEVENV-701"
    exit_code = ExitCode.USAGE


class ExecutorUnknown(DevenvError):
    """This release of Airflow has no such executor: 3.0 removed the SequentialExecutor."""

    code = "DEVENV-702"
    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Layout:
    """Where the processes run that read the file, and what they find there.

    Attributes:
        executor: who runs tasks.
        dags: the DAG folder.
        plugins: the plugins folder.
        logs: the folder of task logs, shared by those who write and those who show them.
        scratch: a folder of each process' own, for the logs of parsing.
        secrets: the folder with `airflow.cfg` and the env files.
        page_port: the port of the webserver or api-server.
        api_server_url: how tasks reach the api-server (3.x).
        namespace: where task pods run; None without Kubernetes.
        pod_template: the file with the manifest of a task pod; None without Kubernetes.
        views_may_change: whether plugins can add views to the page, so that its permissions are compared at each start.
    """

    executor: str
    dags: str
    plugins: str
    logs: str
    scratch: str
    secrets: str
    page_port: int = 8080
    api_server_url: str = ""
    namespace: str | None = None
    pod_template: str | None = None
    views_may_change: bool = False


def cluster_layout(settings: Settings) -> Layout:
    """The layout of the pods in `minikube/base`.

    Raises:
        ExecutorUnknown: the release does not have it.
    """
    release = Release(settings.airflow.version)
    executor = settings.airflow.executor or "KubernetesExecutor"
    if executor not in release.executors:
        raise ExecutorUnknown(
            f"Airflow {release.version} has no {executor}",
            hint=f"set airflow.executor to one of {', '.join(release.executors)}",
        )
    return Layout(
        executor=executor,
        dags="/opt/airflow/dags",
        plugins="/opt/airflow/plugins",
        logs="/opt/airflow/logs",
        scratch="/tmp/airflow",  # noqa: S108 (in a container of its own)
        secrets="/etc/airflow",
        api_server_url="http://api-server:8080",
        namespace=settings.kubernetes.namespace,
        pod_template="/devenv/config/pod-template.yaml",
        views_may_change="plugins" in settings.sync.folders,
    )


def airflow_config(
    settings: Settings,
    layout: Layout,
    *,
    parsed_files: int = 0,
    additions: Mapping[str, Mapping[str, ConfigValue]] | None = None,
) -> Config:
    """All options that devenv sets for the release of the settings; the user's `[airflow.config]` goes over them.

    Args:
        settings: the project's.
        layout: where the processes run.
        parsed_files: how many Python files the DAG folder has; listing and parsing slow down as it grows.
        additions: options of components that are switched on; over devenv's, under the user's.

    Raises:
        OptionsUnknown: the user's options are not all known to this release.
    """
    release = Release(settings.airflow.version)
    _check(settings.airflow.config, release)
    config = _common(layout, release)
    _merge(config, _release_3(settings, layout) if release.is_3 else _release_2(layout, release))
    _merge(config, _parsing(release, parsed_files))
    if settings.sends_lineage:
        # In task pods the provider before 1.7.0 finds no default of its own, and sends nothing of tasks
        # (apache/airflow#37994).
        _merge(config, {"openlineage": {"config_path": "", "disabled_for_operators": ""}})
    _merge(config, additions or {})
    _merge(config, settings.airflow.config)
    return config


def render(config: Mapping[str, Mapping[str, ConfigValue]], *, heading: str = "") -> str:
    """The template of `airflow.cfg`. `%` is doubled, as configparser wants it; the rest is left as it is."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for section, options in config.items():
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines += [f"{name} = {_text(value)}" for name, value in options.items()]
    return "\n".join(lines) + "\n"


def _text(value: ConfigValue) -> str:
    # A line that is indented goes on with the value; configparser drops empty ones otherwise.
    return str(value).replace("%", "%%").replace("\n", "\n    ")


def _common(layout: Layout, release: Release) -> Config:
    core: dict[str, ConfigValue] = {
        "dags_folder": layout.dags,
        "plugins_folder": layout.plugins,
        "executor": layout.executor,
        "fernet_key": "${FERNET_KEY}",
        "load_examples": False,
        "dags_are_paused_at_creation": True,
        # The button of a dev environment's page; 2.7 disables it by default.
        "test_connection": "Enabled",
        "parallelism": 64,
        "max_active_tasks_per_dag": 16,
        # A pod's name, and no question to DNS at each heartbeat and probe.
        "hostname_callable": "socket.gethostname",
        # An import error in a helper shows the line of the helper.
        "dagbag_import_error_traceback_depth": 20,
        # A valid edit is written when it is parsed, not up to 30 s later.
        "min_serialized_dag_update_interval": 0,
    }
    if "min_serialized_dag_fetch_interval" in release.options()["core"]:
        core["min_serialized_dag_fetch_interval"] = 1
    config: Config = {
        "core": core,
        # prepare_database.py has just migrated it; to compare again costs 0.7 s of a processor at each start.
        "database": {"sql_alchemy_conn": "${SQL_ALCHEMY_CONN}", "check_migrations": False},
        "logging": {
            "base_log_folder": layout.logs,
            # `devenv logs` colours by component.
            "colored_console_log": False,
        },
        "scheduler": {
            # What a scheduler that is gone had queued is taken over within a minute, not within five.
            "orphaned_tasks_check_interval": 30,
        },
        "secrets": {
            "backend": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
            "backend_kwargs": "${VAULT_BACKEND_ARGUMENTS}",
        },
    }
    if "usage_data_collection" in release.options():
        config["usage_data_collection"] = {"enabled": False}
    if layout.namespace is not None and layout.pod_template is not None:
        config["kubernetes_executor"] = {
            "namespace": layout.namespace,
            "pod_template_file": layout.pod_template,
            # One pod per loop of the scheduler, the default, makes a fan-out slow.
            "worker_pods_creation_batch_size": 16,
        }
    return config


def _release_2(layout: Layout, release: Release) -> Config:
    webserver: dict[str, ConfigValue] = {
        "secret_key": "${WEBSERVER_SECRET_KEY}",
        "web_server_port": layout.page_port,
        "workers": 1,
        "warn_deployment_exposure": False,
    }
    config: Config = {
        "database": {"load_default_connections": False},
        "webserver": webserver,
        "api": {
            "auth_backends": "airflow.api.auth.backend.basic_auth,airflow.api.auth.backend.session",
        },
        "logging": {
            "dag_processor_manager_log_location": f"{layout.scratch}/dag_processor_manager.log",
        },
        "scheduler": {"child_process_log_directory": f"{layout.scratch}/dag_processor"},
    }
    # prepare_database.py has made the permissions; comparing them costs three seconds at each start. 2.9 moved the
    # option to the FAB provider.
    permissions = webserver if "update_fab_perms" in release.options()["webserver"] else config.setdefault("fab", {})
    permissions["update_fab_perms"] = layout.views_may_change
    return config


def _release_3(settings: Settings, layout: Layout) -> Config:
    return {
        "core": {
            "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "simple_auth_manager_users": f"{settings.airflow.user}:admin",
            "simple_auth_manager_passwords_file": f"{layout.secrets}/passwords.json",
            # The default is localhost, which in a task pod is the task pod.
            "execution_api_server_url": f"{layout.api_server_url}/execution/",
        },
        "api": {"secret_key": "${WEBSERVER_SECRET_KEY}", "port": layout.page_port, "workers": 1},
        "api_auth": {"jwt_secret": "${JWT_SECRET}"},
        "workers": {
            "secrets_backend": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
            "secrets_backend_kwargs": "${VAULT_BACKEND_ARGUMENTS}",
        },
        "logging": {"dag_processor_child_process_log_directory": f"{layout.scratch}/dag_processor"},
    }


def _parsing(release: Release, parsed_files: int) -> Config:
    """A new file is listed within a second or so, and a file that did not change is hardly ever parsed again.

    An edited file is parsed at once in any case, because its time is newer than its last parse.
    """
    # In steps of a doubling, because a changed number restarts the pods.
    files = 100
    while files < parsed_files:
        files *= 2
    # A listing reads every file (safe mode), and a parse takes about a tenth of a second of a core.
    listing = min(30, files // 100)
    again = max(300, 4 * files if files > 100 else 0)
    if release.is_3:
        return {
            "dag_processor": {
                "refresh_interval": listing,
                "bundle_refresh_check_interval": listing,
                "min_file_process_interval": again,
                "parsing_processes": 2,
            }
        }
    return {
        "scheduler": {
            "dag_dir_list_interval": listing,
            "min_file_process_interval": again,
            "parsing_processes": 2,
            "file_parsing_sort_mode": "modified_time",
        }
    }


def _merge(config: Config, over: Mapping[str, Mapping[str, ConfigValue]]) -> None:
    for section, options in over.items():
        config.setdefault(section, {}).update(options)


def ignored_options(given: Mapping[str, Mapping[str, ConfigValue]], release: Release) -> list[tuple[str, str]]:
    """The options that a release would ignore: the name of the option or section, and what is wrong with it."""
    found: list[tuple[str, str]] = []
    for section, options in given.items():
        if section in sections_ever_known():
            found += [(name, text) for name in options for text in _option_problems(section, name, release)]
        else:
            found += [(section, text) for text in _section_problems(section)]
    return found


def _check(given: Mapping[str, Mapping[str, ConfigValue]], release: Release) -> None:
    problems = [text for _name, text in ignored_options(given, release)]
    if problems:
        raise OptionsUnknown(
            f"[airflow.config] has what Airflow {release.version} would ignore:\n"
            + "\n".join(f"  {problem}" for problem in problems),
            hint="correct devenv.toml",
        )


def _section_problems(section: str) -> Iterator[str]:
    near = difflib.get_close_matches(section, [*sections_ever_known(), *_PROVIDER_SECTIONS], n=1, cutoff=0.8)
    if section not in _PROVIDER_SECTIONS and near:
        yield f"[{section}]: did you mean [{near[0]}]?"


def _option_problems(section: str, name: str, release: Release) -> Iterator[str]:
    known = release.options().get(section, frozenset())
    if name in known or release.is_newer_than_known:
        return
    successors = release.successors(section, name)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    if successors:
        yield f"[{section}] {name}: it is [{successors[0][0]}] {successors[0][1]} in this release"
    elif was_ever_known(section, name):
        yield f"[{section}] {name}: other releases have it, this one does not"
    elif near:
        yield f"[{section}] {name}: did you mean {near[0]}?"
    else:
        yield f"[{section}] {name}: there is no such option"
