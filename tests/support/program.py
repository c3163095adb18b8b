"""`devenv` as a program of its own, as a user runs it: in a folder, with flags, read line by line."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Line:
    """One JSON line of `devenv -o json`."""

    type: str
    data: dict[str, Any]


@dataclass
class Watching:
    """A `devenv watch -o json` (or `up`) that runs."""

    child: subprocess.Popen[str]
    lines: queue.SimpleQueue[Line] = field(default_factory=queue.SimpleQueue)
    seen: list[Line] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def until(self, wanted: Callable[[Line], bool], seconds: float = 240.0) -> Line:
        """The next line that fits; fails with all that was said instead."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self.lines.get(timeout=min(left, 0.5))
            except queue.Empty:
                if self.child.poll() is not None and self.lines.empty():
                    break
                continue
            self.seen.append(line)
            if wanted(line):
                return line
        said = "\n".join(f"{line.type} {line.data}" for line in self.seen[-40:])
        raise AssertionError(
            f"it did not come; exit code {self.child.poll()}; last lines:\n{said}\n{self.errors[-20:]}"
        )

    def verdict(self, path: str, *, ok: bool, speaker: str = "agent", seconds: float = 240.0) -> dict[str, Any]:
        """The next verdict on a file that says `ok`."""
        return self.until(
            lambda line: (
                line.type == "devenv.verdict.reached"
                and line.data["file"] == path
                and line.data["ok"] is ok
                and line.data["speaker"] == speaker
            ),
            seconds,
        ).data

    def parsed(self, path: str, seconds: float = 240.0) -> dict[str, Any]:
        """The scheduler has parsed the last save of a file."""
        return self.until(
            lambda line: line.type == "devenv.scheduler.parsed" and line.data["path"] == path, seconds
        ).data

    def interrupt(self, seconds: float = 120.0) -> int:
        """Ctrl-C; the exit code."""
        self.child.send_signal(signal.SIGINT)
        return self.child.wait(seconds)


@dataclass(frozen=True)
class Program:
    """An installed `devenv`, run in one project folder.

    Attributes:
        command: the program and what comes before its arguments.
        folder: the project.
        variables: over those of the tests.
    """

    command: tuple[str, ...]
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def _variables(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def run(self, *arguments: str, code: int | None = 0, stdin: str = "", seconds: float = 1200.0) -> str:
        """Runs it to its end; standard output. Fails with everything it said when it ends otherwise than `code`."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self._variables(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        said = f"devenv {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, said
        return done.stdout

    def json(self, *arguments: str, code: int | None = 0, seconds: float = 1200.0) -> list[Line]:
        """Runs it with `-o json`; its lines."""
        text = self.run(*arguments, "-o", "json", code=code, seconds=seconds)
        return [Line(line["type"], line["data"]) for line in map(json.loads, text.splitlines())]

    @contextmanager
    def watching(self, *arguments: str, first: str = "devenv.watch.started") -> Iterator[Watching]:
        """`devenv watch -o json`, or another command that goes on, once it has said `first`; ended on the way out."""
        child = subprocess.Popen(
            [*self.command, *(arguments or ("watch",)), "-o", "json"],
            cwd=self.folder,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        watch = Watching(child)

        def read() -> None:
            assert child.stdout is not None
            for text in child.stdout:
                line = json.loads(text)
                watch.lines.put(Line(line["type"], line["data"]))

        def read_errors() -> None:
            assert child.stderr is not None
            watch.errors.extend(child.stderr)

        threads = [threading.Thread(target=target, daemon=True) for target in (read, read_errors)]
        for thread in threads:
            thread.start()
        try:
            watch.until(lambda line: line.type == first, 300)
            yield watch
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            for thread in threads:
                thread.join(5)
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()


@contextmanager
def local_environment() -> Iterator[Program]:
    """A local environment without DAGs that is up; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="devenv-bench-") as place:
        folder = Path(place, "shop")
        (folder / "dags").mkdir(parents=True)
        (folder / "devenv.toml").write_text('backend = "local"\n')
        program = Program((sys.executable, "-m", "devenv"), folder, {"DEVENV_DATA": str(Path(place, "data"))})
        try:
            program.run("up", "--detach", "--port", "18081")
            yield program
        finally:
            program.run("destroy", "--yes", code=None)
