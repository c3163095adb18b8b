"""From a save to the volume, to the agent's verdict and to the scheduler's own parse, in an environment that runs.

    python benchmarks/scheduler.py [FOLDER [SAVES [CONTEXT]]]      FOLDER: a project whose environment is up

Without a folder it boots, and removes, a local environment of its own. A DAG file of 20 kB is saved again and again,
its one task renamed each time; times count from just before the write. Then new files are written, one by one, until
the scheduler has each. On a cluster, `kubectl cp` of the same file into the agent's pod stands beside it, every fifth
save, in the same run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.program import Program, Watching, local_environment

NAME = "save_benchmark.py"
PATH = f"dags/{NAME}"
NEW_FILES = 10


def dag(version: int, dag_id: str = "save_benchmark") -> str:
    """A DAG file of 20 kB; each version has another task."""
    padding = "\n".join(f"# {number:04d} {'x' * 70}" for number in range(260))
    return f"""from datetime import datetime
from airflow import DAG
from airflow.operators.empty import EmptyOperator

with DAG("{dag_id}", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="version_{version}")

{padding}
"""


def saved(watch: Watching, file: Path, version: int) -> dict[str, float]:
    """Saves once; milliseconds until the volume, the verdict and the scheduler's parse were told."""
    started = time.monotonic()
    file.write_text(dag(version))
    times: dict[str, float] = {}
    names = {
        "devenv.file.synced": "save → volume",
        "devenv.verdict.reached": "save → verdict",
        "devenv.scheduler.parsed": "save → scheduler",
    }
    while len(times) < len(names):
        line = watch.until(
            lambda line: line.type in names and PATH in (line.data.get("path"), line.data.get("file")), 90
        )
        times.setdefault(names[line.type], (time.monotonic() - started) * 1000)
    return times


def created(watch: Watching, folder: Path, number: int) -> float:
    """Milliseconds until the scheduler has listed and parsed a file that did not exist."""
    file = folder / "dags" / f"new_benchmark_{number}.py"
    started = time.monotonic()
    file.write_text(dag(number, file.stem))
    watch.until(lambda line: line.type == "devenv.scheduler.parsed" and line.data["path"] == f"dags/{file.name}", 90)
    return (time.monotonic() - started) * 1000


def copied(context: str, file: Path) -> float:
    """Milliseconds of one `kubectl cp` into the agent's pod."""
    kubectl = ["kubectl", "--context", context, "-n", "airflow"]
    find = [
        *kubectl,
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/component=agent",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]
    pod = subprocess.run(find, capture_output=True, text=True, check=True).stdout
    started = time.monotonic()
    subprocess.run([*kubectl, "cp", str(file), f"{pod}:/tmp/{NAME}", "-c", "agent"], capture_output=True, check=True)
    return (time.monotonic() - started) * 1000


def row(name: str, times: list[float]) -> float:
    """Prints p50, p95 and p99; gives back p50."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    print(f"{name:<20} n={len(times):<4} p50 {cuts[49]:7.0f}   p95 {cuts[94]:7.0f}   p99 {cuts[98]:7.0f}   ms")
    return cuts[49]


def measure(program: Program, saves: int, context: str) -> None:
    """Prints the table."""
    folder = program.folder
    file = folder / PATH
    every: dict[str, list[float]] = {}
    try:
        with program.watching() as watch:
            for version in range(saves + 3):
                times = saved(watch, file, version)
                if context and version % 5 == 0:
                    times["kubectl cp"] = copied(context, file)
                if version >= 3:  # the first ones warm caches
                    for name, value in times.items():
                        every.setdefault(name, []).append(value)
                time.sleep(0.3)
            every["new file → scheduler"] = [created(watch, folder, number) for number in range(NEW_FILES)]
            middles = {name: row(name, times) for name, times in every.items()}
            if context:
                print(f"kubectl cp / save → volume: {middles['kubectl cp'] / middles['save → volume']:.0f} times")
            for added in (folder / "dags").glob("new_benchmark_*.py"):
                added.unlink()
            file.unlink()
            watch.until(lambda line: line.type == "devenv.verdict.cleared" and line.data["path"] == PATH)
    finally:
        for left in [file, *(folder / "dags").glob("new_benchmark_*.py")]:
            left.unlink(missing_ok=True)


def main(arguments: list[str]) -> None:
    """See the module."""
    if not arguments:
        with local_environment() as program:
            measure(program, 50, "")
        return
    folder, saves, context = [*arguments, "50", ""][:3] if len(arguments) == 1 else [*arguments, ""][:3]
    measure(Program((sys.executable, "-m", "devenv"), Path(folder).resolve()), int(saves), context)


if __name__ == "__main__":
    main(sys.argv[1:])
