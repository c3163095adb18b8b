"""The platform in a namespace of its own, for tests of what settings switch on: kubectl applies an overlay."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devenv.cluster.overlay import write_overlay
from devenv.environment import Environment
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, KubernetesSettings, Settings
from devenv.vault import seeds


def settings_for(namespace: str, airflow: AirflowSettings | None = None, **others: Any) -> Settings:
    """Settings without a port of the node, which other namespaces may have."""
    kubernetes = KubernetesSettings(namespace=namespace)
    return Settings(backend="kubernetes", kubernetes=kubernetes, airflow=airflow or AirflowSettings(), **others)


class Parts:
    """kubectl and Airflow in the namespace of a test."""

    def __init__(self, context: str, folder: Path, settings: Settings) -> None:
        self.context = context
        self.namespace = settings.kubernetes.namespace
        self.environment = Environment(variables={**os.environ, "DEVENV_DATA": str(folder / "data")})
        self.folder = folder / "shop"
        self.folder.mkdir(exist_ok=True)
        self.settings = settings

    @property
    def project(self) -> Project:
        return Project(self.folder, self.settings, self.environment)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", "--context", self.context, "-n", self.namespace, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, settings: Settings, values: dict[str, dict[str, str]] | None = None) -> None:
        """Brings the namespace to these settings, the values over the seeds, and waits until all is ready."""
        self.settings = settings
        known = seeds.load_or_create(self.project)
        for path, given in (values or {}).items():
            known = known.with_values(path, given)
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(seeds.seed_secret(self.project, known)))
        overlay = write_overlay(self.project, airflow_image=settings.airflow_image)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(overlay))

    def wait(self, *workloads: str) -> None:
        for workload in workloads:
            self.kubectl("rollout", "status", workload, "--timeout=400s")

    def run(self, *command: str, component: str = "scheduler", check: bool = True) -> str:
        """Standard output of a command in a component's pod."""
        return self.kubectl("exec", f"deploy/{component}", "-c", component, "--", *command, check=check)

    def sql(self, query: str) -> list[list[str]]:
        """Rows of the metadata database, each value as text."""
        program = (
            "import sys, json; sys.path.insert(0, '/devenv/programs'); from metadata_database import *; "
            "cursor = connect(connection_url()).cursor(); cursor.execute(sys.argv[1]); "
            "print(json.dumps([[str(value) for value in row] for row in cursor.fetchall()]))"
        )
        rows: list[list[str]] = json.loads(self.run("python", "-c", program, query, component="agent"))
        return rows

    def put_dag(self, name: str, text: str) -> None:
        """Writes a DAG file into the claim, and waits until the scheduler has it."""
        write = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
        self.run("python", "-c", write, f"/devenv/claim/dags/{name}.py", text, component="agent")
        self.until(lambda: bool(self.sql(f"SELECT 1 FROM serialized_dag WHERE dag_id = '{name}'")), f"{name} is parsed")

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 300) -> None:
        """Looks every two seconds."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(2)


def named_context() -> str:
    """The context that the tests may use; skips where none is named."""
    named = os.environ.get("DEVENV_TEST_CONTEXT")
    if not named or not shutil.which("kubectl"):
        pytest.skip("DEVENV_TEST_CONTEXT names no context, or kubectl is not on PATH")
    return named


@contextmanager
def parts_in(folder: Path, settings: Settings) -> Iterator[Parts]:
    """A namespace with the platform, removed at the end."""
    parts = Parts(named_context(), folder, settings)
    parts.kubectl("create", "namespace", parts.namespace, check=False)
    try:
        parts.apply(settings)
        yield parts
    finally:
        parts.kubectl("delete", "clusterrolebinding", f"vault-auth-delegator.{parts.namespace}", check=False)
        parts.kubectl("delete", "namespace", parts.namespace, "--wait=true", check=False)
