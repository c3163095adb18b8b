"""Takes each release of Airflow through a day on the local backend, and writes what came of it to docs/releases.md.

    python tests/releases.py [RELEASE …]      without one: the newest of each series from 2.7 on, and the default

For each: `up` from nothing (with the installation) and again after `down`, `check`, a run and its log, `test`,
`rerun`, a backfill, 20 saves with their verdicts, a save that breaks a DAG and its repair, `destroy`. A release that
fails does not end the others; the exit code is 1 then. Packages come from the index that uv is configured with.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from devenv.environment import Environment  # noqa: E402
from devenv.published import ReleaseMissing, newest  # noqa: E402
from tests.support import many_lines  # noqa: E402
from tests.support.program import Program  # noqa: E402

SERIES = ("2.8", "2.9", "2.10", "2.11", "3.0", "3.1", "3.2", "3.3", "3.4")
DEFAULT = "2.7.2"
SAVES = 20
PAGE = ROOT / "docs" / "releases.md"
DAG = """\
from datetime import datetime
try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def hello():
    @task
    def say():
        print("hello from the task, version 0")

    say()


hello()
"""


@dataclass
class Outcome:
    """What came of one release."""

    release: str
    seconds: dict[str, float] = field(default_factory=dict)
    verdicts: list[float] = field(default_factory=list)
    failed: str = ""
    said: str = ""

    def row(self) -> str:
        """A line of the table."""
        ordered = sorted(self.verdicts)
        saves = (
            f"{statistics.median(ordered):.0f} / {ordered[int(0.95 * (len(ordered) - 1))]:.0f} ms" if ordered else "-"
        )
        steps = [f"{self.seconds[name]:.1f} s" if name in self.seconds else "-" for name in ("up", "second up", "run")]
        return f"| {self.release} | {' | '.join(steps)} | {saves} | {self.failed or 'all'} |"


def day(release: str) -> Outcome:
    """Takes a release through its day."""
    outcome = Outcome(release)
    with tempfile.TemporaryDirectory(prefix="devenv-release-") as place:
        folder = Path(place, "shop")
        (folder / "dags").mkdir(parents=True)
        (folder / "dags" / "hello.py").write_text(DAG)
        (folder / "dags" / "writes.py").write_text(many_lines.DAG)
        variables = {"DEVENV_DATA": str(Path(place, "data")), "DEVENV_BACKEND": "local"}
        program = Program((sys.executable, "-m", "devenv"), folder, variables)

        def step(name: str, action: Callable[[], object]) -> None:
            if outcome.failed:
                return
            began = time.monotonic()
            try:
                action()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                outcome.failed, outcome.said = f"`{name}` fails", str(error)
            outcome.seconds[name] = time.monotonic() - began

        try:
            step("up", lambda: program.run("up", "--detach", "--airflow-version", release))
            step("down", lambda: program.run("down"))
            step("second up", lambda: program.run("up", "--detach"))
            step("check", lambda: program.run("check"))
            step("run", lambda: program.run("run", "hello", "--wait", seconds=300))
            step("logs", lambda: _has(program.run("logs", "hello", "say"), "hello from the task"))
            step(
                "run --logs",
                lambda: many_lines.assert_whole(program.run("run", many_lines.DAG_ID, "--logs", code=1, seconds=300)),
            )
            step("test", lambda: _has(program.run("test", "hello", seconds=300), "hello passed"))
            step("rerun", lambda: program.run("rerun", "hello", "say", seconds=300))
            dates = ("--from", "2026-01-01", "--to", "2026-01-02")
            step("backfill", lambda: program.run("backfill", "hello", *dates, seconds=600))
            step("saves", lambda: outcome.verdicts.extend(saves(program)))
            step("status", lambda: program.run("status"))
        finally:
            program.run("destroy", "--yes", code=None)
    return outcome


def _has(text: str, words: str) -> None:
    assert words in text, text


def saves(program: Program) -> list[float]:
    """Milliseconds from a save to its verdict; one more save breaks the DAG, and one repairs it."""
    file = program.folder / "dags" / "hello.py"
    found = []
    with program.watching() as watch:
        watch.verdict("dags/hello.py", ok=True)
        for number in range(1, SAVES + 1):
            file.write_text(DAG.replace("version 0", f"version {number}"))
            found.append(float(watch.verdict("dags/hello.py", ok=True)["milliseconds_since_save"]))
            time.sleep(0.5)
        file.write_text(DAG.replace("    say()\n", "    say(\n"))
        watch.verdict("dags/hello.py", ok=False)
        file.write_text(DAG)
        watch.verdict("dags/hello.py", ok=True)
    return found


def page(outcomes: list[Outcome]) -> str:
    """The page."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    rows = "\n".join(outcome.row() for outcome in outcomes)
    return f"""# Releases that were tried

Written by `make test-releases`, which takes each release through `up`, `down`, `up`, `check`, `run`, `logs`, a run that
writes 10,000 lines and fails while it is followed, `test`, `rerun`, `backfill`, {SAVES} saves, a broken save and its
repair, `status` and `destroy` on the local backend.

Commit {commit}, {time.strftime("%Y-%m-%d")}, Python {sys.version.split()[0]}, {os.cpu_count()} cores. The first `up`
installs the release, from uv's cache where that has it.

| Airflow | first `up` | second `up` | `run --wait` | save → verdict p50 / p95 | works |
|---|---|---|---|---|---|
{rows}
"""


def asked() -> list[str]:
    """The releases to try."""
    if len(sys.argv) > 1:
        return sys.argv[1:]
    found = [DEFAULT]
    for series in SERIES:
        try:
            found.append(newest(series, Environment()))
        except ReleaseMissing as error:
            print(f"{series}: {error.message}", file=sys.stderr)
    return found


def main() -> int:
    """Tries them, prints each as it is done, and writes the page."""
    outcomes = []
    for release in asked():
        outcome = day(release)
        outcomes.append(outcome)
        print(outcome.row(), outcome.said, sep="\n", flush=True)
    if len(sys.argv) == 1:
        PAGE.write_text(page(outcomes))
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
