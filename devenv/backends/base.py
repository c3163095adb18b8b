"""The seam between the commands and the place where Airflow runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from devenv.errors import MissingError

if TYPE_CHECKING:
    import subprocess

    import hvac

    from devenv.airflow.client import AirflowClient
    from devenv.airflow.model import TaskKey
    from devenv.airflow.rest import Credentials
    from devenv.boot.step import Step
    from devenv.duplex import Duplex
    from devenv.events import LogLine, Reporter
    from devenv.sync.model import Listener, Target
    from devenv.vault.keeper import SeedKeeper
    from devenv.vault.staleness import StalePod


class EnvironmentStopped(MissingError):
    """The environment does not run: it was stopped, never started, or removed.

    `devenv up` starts it; what it held is there again, unless it was destroyed. Nothing was changed.
    """

    code = "DEVENV-108"

    def __init__(self, state: Literal["stopped", "missing"]) -> None:
        what = "the environment is stopped" if state == "stopped" else "the environment was not started yet"
        super().__init__(what, hint="devenv up")


Health = Literal["running", "starting", "failed", "stopped", "missing"]


@dataclass(frozen=True)
class Component:
    """One part of the platform as it is now.

    Attributes:
        name: `scheduler`, `webserver`, `api-server`, `triggerer`, `dag-processor`, `postgres`, `vault`, `agent` …
        health: in one word.
        detail: why, or what it waits for, with the last lines of a crash; "" when it runs.
        restarts: since the environment was started.
        since: seconds since the epoch when it reached this state, 0 when not known.
        image: what it runs, "" for a local process.
    """

    name: str
    health: Health
    detail: str = ""
    restarts: int = 0
    since: float = 0.0
    image: str = ""


@dataclass(frozen=True)
class EnvironmentStatus:
    """What exists of an environment, read from the real thing, never from a record."""

    backend: str
    identifier: str
    state: Literal["up", "partly", "stopped", "missing"]
    components: tuple[Component, ...] = ()
    urls: dict[str, str] = field(default_factory=dict)
    """Component → URL on 127.0.0.1."""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LogQuery:
    """Which lines of which components' logs."""

    components: tuple[str, ...] = ()
    """Empty: all, task pods included."""
    follow: bool = False
    since_seconds: float | None = None
    tail: int | None = 200


@dataclass(frozen=True)
class Surroundings:
    """What a session to the agent was opened in.

    Attributes:
        running: the environment runs.
        key: differs when the session must be opened again: another Python, another configuration.
    """

    running: bool
    key: tuple[object, ...]


@dataclass(frozen=True)
class TaskRunner:
    """Where tasks run outside of the scheduler, for `devenv test`.

    Attributes:
        open: starts a session: `agent_command(module=TASKS)`.
        folders: synced root → where tasks see it.
        linger: seconds for which the process that has Airflow loaded waits for the next run.
        owner: a process whose end is its own, 0 for none.
        forward: makes a port that is open where tasks run reachable on 127.0.0.1 here: takes that port and the one
            here; None where they run on this machine.
    """

    open: Callable[[], Duplex]
    folders: Mapping[str, str]
    linger: float
    owner: int = 0
    forward: Callable[[int, int], AbstractContextManager[object]] | None = None


class Backend(Protocol):
    """One environment on one backend. Cheap to make; connects when something is asked."""

    name: Literal["minikube", "kubernetes", "local"]
    reason: str
    """Why this backend was chosen, for the one line that `up` shows."""

    def up_steps(self) -> Sequence[Step]:
        """What makes the environment run; see `devenv.boot`."""

    def down_steps(self) -> Sequence[Step]:
        """What stops it and keeps its data."""

    def destroy_steps(self) -> Sequence[Step]:
        """What removes all of it, and nothing that is not ours."""

    def destroys(self) -> Sequence[str]:
        """What `destroy_steps` would remove, a line each, for the question."""

    def status(self) -> EnvironmentStatus:
        """What exists now."""

    def open_target(self, listener: Listener, *, take_over: bool = False, verdicts: bool = True) -> Target:
        """A new session to the DAG volume, by the transport of the settings.

        Args:
            listener: told of verdicts and of the session's end.
            take_over: use a volume that another environment filled, when nothing of it writes there now.
            verdicts: have DAG files parsed.
        """

    def airflow(self) -> AirflowClient:
        """Airflow's REST API, logged in, with a kept session."""

    def vault(self) -> hvac.Client:
        """Vault, logged in as the user of the laptop."""

    def credentials(self) -> Credentials:
        """User and password of Airflow's page."""

    def logs(self, query: LogQuery) -> Iterator[LogLine]:
        """Lines in time order; with `follow`, until the iterator is closed."""

    def command(self, component: str, command: Sequence[str], *, interactive: bool) -> subprocess.Popen[bytes]:
        """Starts a program inside a component (`devenv shell`, `devenv airflow`), with the component's own environment.

        Args:
            component: a name of `status`.
            command: the program and its arguments.
            interactive: it inherits the standard streams of devenv, with a terminal where they are one; otherwise
                its standard input is empty, and its output and errors are pipes for the caller.
        """

    def task_runner(self, report: Reporter) -> TaskRunner:
        """Where tasks run outside of the scheduler: with the environment, secrets, resources and image of a task.

        Args:
            report: takes notices of what has to be made first.

        Raises:
            DevenvError: the environment does not run.
        """

    def seed_keeper(self) -> SeedKeeper:
        """Where the seeds of the environment's secrets are kept.

        Raises:
            DevenvError: the cluster that keeps them too is not there.
        """

    def stale_secrets(self) -> Sequence[StalePod]:
        """What runs with secrets that have changed since it started; nothing where the environment is not up."""

    def renew_secrets(self, report: Reporter, *, restart: bool) -> None:
        """Brings changed secrets to what runs with the old ones.

        Args:
            report: takes a notice of what restarts, or would have to.
            restart: without it, nothing is restarted.

        Raises:
            DevenvError: Vault or the cluster does not answer.
        """

    def surroundings(self) -> Surroundings | None:
        """What the agent's session lives in; None where the session itself ends with it, as in a pod."""

    def during_watch(self, report: Reporter) -> AbstractContextManager[None]:
        """What a watch holds: the port forwards that the URLs need, and notices of components that crash."""

    def reconcile(self, report: Reporter) -> None:
        """Brings settings that changed since `up` into the running environment (an image to rebuild)."""

    def known_secrets(self) -> Sequence[str]:
        """Values that no log line may show: generated passwords, tokens and keys, and what `devenv secrets` set."""

    def explain_task(self, task: TaskKey) -> tuple[str, str]:
        """Why a task does not run, or what ended it from outside, and what to do; ("", "") where nothing did."""

    def exports(self) -> Mapping[str, str]:
        """Environment variables, besides Airflow's and Vault's addresses, for programs on this machine.

        `AIRFLOW_HOME`, `AIRFLOW_CONFIG` and `PATH` of the local backend; `KUBECONFIG` of a file (0600) whose current
        context is this environment's on a cluster.
        """
