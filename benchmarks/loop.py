"""From a save to the first line of the task's log, and a whole DAG of two tasks, beside Airflow's own commands.

    python benchmarks/loop.py [RELEASE [SAVES]]

It boots, and removes, a local environment of its own. A save changes the line that the task prints; its time counts
from just before the write to the line on the screen of `devenv test --watch`. In the same run, in turn, `airflow tasks
test` and `airflow dags test` are started as a person does, by `devenv airflow`, after every fifth save. The memory is
that of the process that has Airflow loaded, at the end.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.dap import DapClient

DAG = """from datetime import datetime
try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task

@dag(schedule=None, start_date=datetime(2024, 1, 1), catchup=False)
def loop_benchmark():
    @task
    def first():
        print("version {number}")
        return 1
    @task
    def second(value):
        print("second got", value)
    second(first())

loop_benchmark()
"""
TESTS = """import pytest

def test_files(dag_bag):
    assert dag_bag.import_errors == {}

@pytest.mark.parametrize("number", range(100))
def test_second(run_task, number):
    assert run_task("loop_benchmark", "second", xcoms={"first": number}).state == "success"
"""
SERVER = "devenv.agent.tasks.server"


def save(file: Path, number: int) -> float:
    """Writes a version of the file as editors do; when that began."""
    began = time.monotonic()
    temporary = file.with_suffix(".tmp")
    temporary.write_text(DAG.format(number=number))
    temporary.replace(file)
    return began


def line_after(stream: subprocess.Popen[str], words: str) -> float:
    """When a record with these words arrived."""
    assert stream.stdout is not None
    for line in stream.stdout:
        record = json.loads(line)
        if record["type"] == "devenv.test.output" and words in record["data"]["text"]:
            return time.monotonic()
    raise SystemExit("the watch ended")


def quantiles(times: list[float]) -> str:
    """Median and 95th percentile, in seconds."""
    ordered = sorted(times)
    return f"p50 {statistics.median(ordered):.2f} s, p95 {ordered[int(0.95 * (len(ordered) - 1))]:.2f} s"


def main() -> None:
    """Measures and prints."""
    release = sys.argv[1] if len(sys.argv) > 1 else "2.7.2"
    saves = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "shop"
        (project / "dags").mkdir(parents=True)
        file = project / "dags" / "loop_benchmark.py"
        save(file, 0)
        variables = {**os.environ, "DEVENV_DATA": f"{folder}/data", "DEVENV_BACKEND": "local"}
        variables["DEVENV_AIRFLOW__VERSION"] = release
        devenv = [sys.executable, "-m", "devenv", "--project", str(project)]
        environment = {**variables, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}

        def run(*arguments: str) -> float:
            began = time.monotonic()
            done = subprocess.run([*devenv, *arguments], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                said = f"{done.stdout}{done.stderr}"[-4_000:]
                raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{said}")
            return time.monotonic() - began

        run("up", "--detach")
        try:
            measure(devenv, environment, file, saves, release, run)
        finally:
            run("destroy", "--yes")


def measure(devenv: list[str], environment: dict[str, str], file: Path, saves: int, release: str, run: object) -> None:
    """The figures of one environment."""
    assert callable(run)
    date = "2024-01-02"
    run("test", "loop_benchmark")  # the process that has Airflow loaded starts
    run("airflow", "dags", "test", "loop_benchmark", date)  # 2.7's `tasks test` fails where the day has no run
    watch = subprocess.Popen(
        [*devenv, "test", "loop_benchmark", "first", "--watch", "-o", "json"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    ours, theirs = [], []
    try:
        line_after(watch, "version 0")
        time.sleep(5)
        for number in range(1, saves + 1):
            began = save(file, number)
            ours.append(line_after(watch, f"version {number}") - began)
            time.sleep(1.5)
            if number % 5 == 0:
                theirs.append(run("airflow", "tasks", "test", "loop_benchmark", "first", date))
    finally:
        watch.terminate()
        watch.wait()
    whole = [run("test", "loop_benchmark") for _ in range(10)]
    days = ("2024-01-03", "2024-01-04", "2024-01-05")  # 2.7 cannot remove the run that a day has already
    airflow = [run("airflow", "dags", "test", "loop_benchmark", day) for day in days]
    hits = [breakpoint_hit(devenv, environment, file) for _ in range(saves)]
    tests = file.parents[1] / "tests" / "test_loop.py"
    tests.parent.mkdir()
    tests.write_text(TESTS)
    run("pytest", "-k", "files")
    first = [run("pytest", "-k", "files") for _ in range(5)]
    hundred = [run("pytest", "-k", "second") for _ in range(3)]
    alone = [pytest_alone(release, file.parents[1]) for _ in range(3)]
    print(f"Airflow {release}, {saves} saves")
    print(f"save → first line, devenv test --watch   {quantiles(ours)}")
    print(f"airflow tasks test, whole                {quantiles(theirs)}")
    print(f"devenv test DAG of two tasks, whole      {quantiles(whole)}")
    print(f"airflow dags test, whole                 {quantiles(airflow)}")
    print(f"devenv debug → breakpoint hit            {quantiles(hits)}")
    print(f"devenv pytest, one test, whole           {quantiles(first)}")
    print(f"pytest alone, the same test, whole       {quantiles(alone)}")
    print(f"devenv pytest, 100 tests of a task       {quantiles(hundred)}")
    running = psutil.process_iter(["cmdline"])
    memory = [each.memory_info().rss for each in running if SERVER in (each.info["cmdline"] or ())]
    print(f"memory of the process that runs tasks    {max(memory, default=0) / 1_048_576:.0f} MiB")


def breakpoint_hit(devenv: list[str], environment: dict[str, str], file: Path) -> float:
    """Seconds from the command to the breakpoint, with an editor that attaches at once."""
    line = file.read_text().splitlines().index("        return 1")
    began = time.monotonic()
    command = [*devenv, "debug", "loop_benchmark", "first", "-o", "json"]
    debug = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert debug.stdout is not None
    records = (json.loads(text) for text in debug.stdout)
    waits = next(record["data"] for record in records if record["type"] == "devenv.debug.waiting")
    with DapClient(waits["port"]) as editor:
        editor.attach(waits["mappings"], {str(file): [line + 1]})
        thread = editor.event("stopped")["threadId"]
        taken = time.monotonic() - began
        editor.request("continue", {"threadId": thread})
        debug.stdout.read()
    if debug.wait():
        raise SystemExit("devenv debug failed")
    return taken


def pytest_alone(release: str, project: Path) -> float:
    """Seconds of pytest with the plugin, which imports Airflow anew."""
    from devenv.environment import Environment
    from devenv.local.virtualenv import Installer
    from devenv.tasks.packages import PYTEST, archive

    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(archive(PYTEST, Environment()))) as packed:
            packed.extractall(folder)
        python = Installer(Environment()).airflow(release, project / "requirements.txt", lambda _line: None)
        paths = [folder, str(Path(__file__).resolve().parents[1])]
        program = f"import sys; sys.path[:0] = {paths}; import pytest; "
        program += "sys.exit(pytest.main(['-p', 'devenv.agent.testing.plugin', '-k', 'files']))"
        began = time.monotonic()
        subprocess.run([python, "-c", program], cwd=project, check=True, capture_output=True)
        return time.monotonic() - began


if __name__ == "__main__":
    main()
