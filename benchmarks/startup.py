"""What a command costs before it does anything, and `devenv status` of an environment that is up.

python benchmarks/startup.py [FOLDER]    FOLDER: a project whose environment runs; without it, only the start
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

_RUNS = 15
_MODULES = (
    "devenv.cli.app",
    "devenv.settings",
    "devenv.console.console",
    "devenv.local.backend",
    "kubernetes",
)


def main(folder: Path | None) -> None:
    """Prints a line per figure: median and fastest of some runs."""
    devenv = [sys.executable, "-m", "devenv"]
    empty = tell("python, nothing else", [sys.executable, "-c", "pass"])
    tell("devenv --help", [*devenv, "--help"], empty)
    tell("devenv up --help", [*devenv, "up", "--help"], empty)
    for module in _MODULES:
        tell(f"import {module}", [sys.executable, "-c", f"import {module}"], empty)
    if folder is None:
        return
    status = tell("devenv status", [*devenv, "status"], empty, folder)
    tell("devenv config", [*devenv, "config"], empty, folder)
    alternative = timed([*devenv, "airflow", "dags", "list"], folder)
    print(f"{'airflow dags list, inside':40} {alternative * 1000:8.0f} ms   {alternative / status:5.1f} times status")


def tell(what: str, command: list[str], empty: float = 0.0, folder: Path | None = None) -> float:
    """Measures and prints; the median, in seconds."""
    timed(command, folder)  # bytecode is written, and files come into the page cache
    took = [timed(command, folder) for _ in range(_RUNS)]
    median = statistics.median(took)
    print(
        f"{what:40} {median * 1000:8.0f} ms   fastest {min(took) * 1000:6.0f} ms   {(median - empty) * 1000:+7.0f} ms"
    )
    return median


def timed(command: list[str], folder: Path | None) -> float:
    """Seconds that a program takes; Python may write bytecode, as where it is installed."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return time.perf_counter() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
