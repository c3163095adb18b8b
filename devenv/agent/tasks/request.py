"""What is asked of a test run, in the laptop's terms and in those of the process that runs it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Mapping, Optional, Sequence, Type, TypeVar

_Kind = TypeVar("_Kind", bound="_Asked")


@dataclass(frozen=True)
class _Asked:
    """A request as it travels: its fields as JSON."""

    def encoded(self) -> bytes:
        """The request as it travels."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls: Type[_Kind], asked: Mapping[str, Any]) -> _Kind:
        """The request that travelled."""
        return cls(**{each.name: asked[each.name] for each in fields(cls) if each.name in asked})


@dataclass(frozen=True)
class Request(_Asked):
    """What `devenv test` and `devenv debug` run.

    Attributes:
        dag_id: the DAG.
        task_id: only this task; "" for the whole DAG.
        map_index: only this one of a mapped task; -1 for all.
        from_start: what comes before `task_id` runs first.
        run_id: the run whose configuration, date and XComs a single task gets; "" for the latest.
        date: the logical date, ISO 8601; "" for now, or the run's.
        conf: the run's configuration; None for the run's own.
        files: where the DAG may be made, likeliest first, as `dags/etl.py`.
        variables: of the environment, set for this run.
        verbose: also the lines in which Airflow says how it runs the task.
        vault_mount: where Variables and Connections lie in Vault, for hints.
        terminal: there is a terminal for `breakpoint()`.
        debug: wait for an editor's debugger first.
        debug_port: where it listens on 127.0.0.1; 0 for any free port.
    """

    dag_id: str
    task_id: str = ""
    map_index: int = -1
    from_start: bool = False
    run_id: str = ""
    date: str = ""
    conf: Optional[Mapping[str, Any]] = None
    files: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    verbose: bool = False
    vault_mount: str = "secret"
    terminal: bool = False
    debug: bool = False
    debug_port: int = 0


@dataclass(frozen=True)
class PytestRequest(_Asked):
    """What `devenv pytest` runs.

    Attributes:
        folder: the project's.
        folders: synced root → its folder in the project.
        arguments: pytest's own.
        variables: of the environment, set for this run.
    """

    folder: str
    folders: Mapping[str, str]
    arguments: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class ConnectionRequest(_Asked):
    """What `devenv secrets test` asks.

    Attributes:
        conn_id: the connection.
        variables: of the environment, set for this run.
    """

    conn_id: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
