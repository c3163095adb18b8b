"""From a save to the agent's verdict in a folder of 300 DAG files, forty dependents of a helper, and reading at 1 Hz.

    python benchmarks/verdicts.py [FOLDER [CONTEXT]]      FOLDER: a project whose environment is up

Without a folder it boots, and removes, a local environment of its own. The files are made in `dags/verdict_benchmark/`
and removed at the end. A save changes one of them, the time counts from just before the write; the helper is imported
by forty of them, and its time ends with the last of their verdicts. Then nothing happens for a minute but the agent's
reading of the scheduler's import errors, once a second: processor time of all its processes.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.program import Program, Watching, local_environment

FILES, DEPENDENTS, SAVES, HELPER_SAVES, IDLE_SECONDS = 300, 40, 50, 6, 60.0
FOLDER = "verdict_benchmark"
DAG = """from datetime import datetime
from airflow import DAG
try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:
    from airflow.operators.bash import BashOperator
{imports}

with DAG("{name}", start_date=datetime(2024, 1, 1), schedule=None):
    for number in range(5):
        BashOperator(task_id=f"step_{{number}}", bash_command="echo {version}")
"""
# Seconds of processor time of the agent's processes in a pod.
USED = """
import glob, os
used = 0
for place in glob.glob("/proc/[0-9]*"):
    try:
        if b"devenv.agent" in open(place + "/cmdline", "rb").read():
            used += sum(int(word) for word in open(place + "/stat").read().rpartition(")")[2].split()[11:13])
    except OSError:
        pass
print(used / os.sysconf("SC_CLK_TCK"))
"""


def dag(number: int, version: int) -> str:
    """The text of a DAG file; the first forty import the helper."""
    imports = f"from {FOLDER} import helper" if number < DEPENDENTS else ""
    return DAG.format(name=f"verdict_benchmark_{number}", imports=imports, version=version)


def name(number: int) -> str:
    """As verdicts have it."""
    return f"dags/{FOLDER}/dag_{number}.py"


def verdicts(watch: Watching, wanted: set[str]) -> None:
    """Returns when each of these files has a new verdict of the agent's."""
    while wanted:
        line = watch.until(
            lambda line: line.type == "devenv.verdict.reached" and line.data["speaker"] == "agent", seconds=300
        )
        wanted.discard(line.data["file"])


def timed(watch: Watching, file: Path, text: str, wanted: set[str]) -> float:
    """Milliseconds from a save to the last of the verdicts that it sets off."""
    started = time.monotonic()
    file.write_text(text)
    verdicts(watch, wanted)
    return (time.monotonic() - started) * 1000


def row(what: str, times: list[float]) -> None:
    """Prints p50, p95 and the longest."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    print(
        f"{what:<46} n={len(times):<4} p50 {cuts[49]:6.0f}   p95 {cuts[94]:6.0f}   max {max(times):6.0f}   ms",
        flush=True,
    )


def used(watch: Watching, folder: Path, context: str) -> float:
    """Seconds of processor time that the agent's processes have used."""
    if context:
        where = ["kubectl", "--context", context, "--namespace", "airflow", "exec", "deploy/agent", "-c", "agent", "--"]
        done = subprocess.run([*where, "python", "-c", USED], capture_output=True, text=True, check=True)
        return float(done.stdout)
    found = psutil.Process(watch.child.pid).children(recursive=True)
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if "devenv.agent.parser" in words and str(folder) in words:
            found.append(process)
    return sum(sum(process.cpu_times()[:2]) for process in found)


def measure(program: Program, context: str) -> None:
    """Prints the table."""
    place = program.folder / "dags" / FOLDER
    place.mkdir()
    try:
        (place / "__init__.py").touch()
        (place / "helper.py").write_text("version = 0\n")
        for number in range(FILES):
            (program.folder / name(number)).write_text(dag(number, 0))
        with program.watching() as watch:
            verdicts(watch, {name(number) for number in range(FILES)})
            time.sleep(20)  # the scheduler parses them too
            chosen = random.Random(1)
            times = []
            for version in range(1, SAVES + 1):
                number = chosen.randrange(DEPENDENTS, FILES)
                times.append(timed(watch, program.folder / name(number), dag(number, version), {name(number)}))
                time.sleep(0.5)
            row(f"save → verdict, {FILES} DAG files", times)
            dependents = {name(number) for number in range(DEPENDENTS)}
            times = []
            for version in range(1, HELPER_SAVES + 1):
                times.append(timed(watch, place / "helper.py", f"version = {version}\n", set(dependents)))
                time.sleep(20)  # the scheduler parses them, too
            row(f"a helper → the verdicts on {DEPENDENTS} dependents", times)
            time.sleep(30)
            before = used(watch, program.folder, context)
            time.sleep(IDLE_SECONDS)
            share = (used(watch, program.folder, context) - before) / IDLE_SECONDS
            print(f"{'the agent at rest, reading at 1 Hz':<46} {share:.2%} of a core")
    finally:
        shutil.rmtree(place)
        program.run("sync", "--yes", code=None)


def main(arguments: list[str]) -> None:
    """See the module."""
    print(f"load average {os.getloadavg()[0]:.1f}")
    if arguments:
        program = Program((sys.executable, "-m", "devenv"), Path(arguments[0]).resolve())
        measure(program, arguments[1] if len(arguments) > 1 else "")
    else:
        with local_environment() as program:
            measure(program, "")
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
