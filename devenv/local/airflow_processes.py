"""Airflow's own processes: what they are per release, how they start fastest, and how they say that they are well."""

from __future__ import annotations

import hashlib
import json
import platform
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from devenv import dag_environment
from devenv.airflow.releases import Release
from devenv.local.errors import ComponentFailed
from devenv.local.places import Places
from devenv.origins.folders import python_path
from devenv.project import Project
from devenv.supervisor.component import ComponentSpec
from devenv.sync import plugins

TIER = 2
"""Above Postgres (0), Vault (0) and its seeder (1)."""
NAMES = frozenset((*Release("2.7.0").components, *Release("3.0.0").components))
"""Every component that this room makes, of any release."""
FIRST = frozenset(("scheduler", Release("2.7.0").page, Release("3.0.0").page))
"""What `wait_healthy` waits for."""
_SETTINGS = Path(__file__).with_name("airflow_local_settings.py")


def variables(project: Project, places: Places, python: Path) -> dict[str, str]:
    """The environment of everything that runs Airflow here, the agent included. It holds no secret."""
    inherited = {
        name: value
        for name, value in project.environment.variables.items()
        if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV", "DEVENV_", "VAULT_"))
    }
    return {
        **inherited,
        **dag_environment.variables(project),
        "PATH": f"{python.parent}:{inherited.get('PATH', '/usr/bin:/bin')}",
        "AIRFLOW_HOME": str(places.airflow_home),
        "AIRFLOW_CONFIG": str(places.secrets / "airflow.cfg"),
        "DEVENV_SECRETS_FOLDER": str(places.secrets),
        "PYTHONPATH": ":".join(python_path(project.folder, project.settings.sync, str(places.claim))),
        "PYTHONUNBUFFERED": "1",
        # Two saves of a helper within a second would otherwise run the bytecode of the first.
        "PYTHONDONTWRITEBYTECODE": "1",
        **_macos(),
    }


def _macos() -> dict[str, str]:
    """Airflow forks after its libraries have started threads, which macOS ends by a crash unless told.

    See apache/airflow issues 24463 and 55838: the Objective-C runtime and the system's proxy look-up.
    """
    safe = {"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "no_proxy": "*", "NO_PROXY": "*"}
    return safe if platform.system() == "Darwin" else {}


def install_policy(places: Places) -> None:
    """Puts `airflow_local_settings.py` where Airflow looks for it."""
    target = places.airflow_home / "config" / _SETTINGS.name
    if not target.exists() or target.read_bytes() != _SETTINGS.read_bytes():
        target.write_bytes(_SETTINGS.read_bytes())


def components(project: Project, places: Places, python: Path, port: int) -> list[ComponentSpec]:
    """The processes of the project's release, as the supervisor runs them."""
    release = Release(project.settings.airflow.version)
    common = variables(project, places, python)
    airflow = [str(python), "-m", "airflow"]
    commands: dict[str, list[str]] = {"scheduler": [*airflow, "scheduler", "--skip-serve-logs"]}
    if not release.is_3:
        # What `airflow webserver` starts after four seconds: one process that has the page loaded, and its fork.
        commands["webserver"] = [
            *(str(python), "-m", "gunicorn", "--preload", "--workers", "1", "--worker-class", "gthread"),
            *("--threads", "4", "--timeout", "120", "--bind", f"127.0.0.1:{port}", "--name", "airflow-webserver"),
            *("--config", "python:airflow.www.gunicorn_config", "airflow.www.app:cached_app()"),
        ]
    else:
        commands["api-server"] = [
            *airflow,
            *("api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        ]
        commands["dag-processor"] = [*airflow, "dag-processor"]
    commands["triggerer"] = [*airflow, "triggerer", "--skip-serve-logs"]
    read = [
        str(python),
        common["PYTHONPATH"],
        plugins.known_revision(project),
        json.dumps(dag_environment.variables(project), sort_keys=True),
    ]
    revision = _revision(places, read)
    return [
        ComponentSpec(
            name=name,
            command=tuple(command),
            variables={**common, "SKIP_DAGS_PARSING": "True"} if name == "webserver" else common,
            cwd=str(places.airflow_home),
            tier=TIER,
            revision=revision,
        )
        for name, command in ((name, commands[name]) for name in release.components)
    ]


def _revision(places: Places, more: Sequence[str]) -> str:
    """Names what a running process has read and would have to read again; not the variables of the user's shell."""
    read = (places.secrets / "airflow.cfg").read_bytes() + "\0".join(more).encode()
    return hashlib.sha256(read).hexdigest()[:16]


def health(release: str, port: int) -> dict[str, str]:
    """What Airflow says of itself: `metadatabase`, `scheduler` … → "healthy"; empty when it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{Release(release).health_path}", timeout=5) as answer:
            raw = json.loads(answer.read())
    except (OSError, ValueError):
        return {}
    return {name: str(about.get("status")) for name, about in raw.items() if isinstance(about, dict)}


def wait_healthy(
    release: str,
    port: int,
    look: Callable[[], Sequence[tuple[str, str, str]]],
    say: Callable[[str], None],
    cancelled: Callable[[], bool],
    *,
    seconds: float = 180.0,
) -> None:
    """Waits until the page answers and the scheduler's heart beats.

    Args:
        release: Airflow's.
        port: the page's.
        look: the components as they are: name, state, last lines.
        say: told what is waited for.
        cancelled: whether to give up.
        seconds: how long.

    Raises:
        ComponentFailed: one ends again and again, or the time is over.
    """
    page = Release(release).page
    deadline = time.monotonic() + seconds
    said = ""
    while not cancelled():
        for name, state, lines in look():
            if state == "looping":
                raise ComponentFailed(f"{name} does not start", hint=f"devenv logs {name}", detail=lines)
        found = health(release, port)
        missing = [name for name in ("metadatabase", "scheduler") if found.get(name) != "healthy"]
        if found and not missing:
            return
        waiting = f"waiting for {', '.join(missing)}" if found else f"waiting for the {page}"
        if waiting != said:
            said = waiting
            say(waiting)
        if time.monotonic() > deadline:
            raise ComponentFailed(
                f"Airflow is not healthy after {seconds:.0f} s: still {waiting}", hint=f"devenv logs {page} scheduler"
            )
        time.sleep(0.1)
