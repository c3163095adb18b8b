"""What `devenv up` has deployed, looked at from beside it: kubectl, the metadata database, commands in the pods."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.program import Program


@dataclass(frozen=True)
class Deployed:
    """An environment in a cluster.

    Attributes:
        program: devenv in the environment's project folder.
        context: of kubectl.
        namespace: the environment's.
    """

    program: Program
    context: str
    namespace: str = "airflow"

    def up(self, *flags: str) -> None:
        """`devenv up --detach` with these flags, to its end."""
        self.program.run("up", "--detach", *flags)

    @contextmanager
    def settings(self, text: str) -> Iterator[None]:
        """Adds tables to `devenv.toml`, and takes them back at the end; `up` applies either."""
        path = self.program.folder / "devenv.toml"
        before = path.read_text()
        path.write_text(f"{before}\n{text}")
        try:
            yield
        finally:
            path.write_text(before)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Standard output of kubectl in the namespace; fails with what it said."""
        command = ["kubectl", "--context", self.context, "-n", self.namespace, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout

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
        """Saves `dags/NAME.py`, syncs it, and waits until the scheduler has the DAG of that name."""
        (self.program.folder / "dags" / f"{name}.py").write_text(text)
        self.program.run("sync", "--yes")
        self.until(lambda: bool(self.sql(f"SELECT 1 FROM serialized_dag WHERE dag_id = '{name}'")), f"{name} is parsed")

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 600) -> None:
        """Looks every two seconds."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(2)
