"""`devenv up` from nothing and again, beside `minikube start` alone, in one run.

    python benchmarks/boot.py [--profile devenv-bench] [--rounds 1]

Each round: `minikube start` of a new profile, deleted; `devenv up --detach` of a new profile; `up` again where all
runs; `devenv status`; `devenv down` and `up`; destroyed. Images are in the laptop's Docker engine before and after.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DAG = """\
from datetime import datetime
from airflow import DAG
with DAG("hello", start_date=datetime(2024, 1, 1), schedule=None):
    pass
"""


def timed(command: list[str], folder: Path, variables: dict[str, str]) -> float:
    """Runs a command, which must succeed; its seconds."""
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return time.monotonic() - started


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="devenv-bench")
    parser.add_argument("--memory", default="6g")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    minikube = ["minikube", "start", "-p", options.profile, "--keep-context", f"--memory={options.memory}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shop"
        (folder / "dags").mkdir(parents=True)
        (folder / "dags" / "hello.py").write_text(DAG)
        (folder / "devenv.toml").write_text(f'[minikube]\nprofile = "{options.profile}"\nmemory = "{options.memory}"\n')
        variables = {"DEVENV_DATA": f"{temporary}/data"}
        devenv = [sys.executable, "-m", "devenv"]
        for _ in range(options.rounds):
            subprocess.run(["minikube", "delete", "-p", options.profile], capture_output=True, check=False)
            for name, command in (
                ("minikube start, new profile", minikube),
                ("", ["minikube", "delete", "-p", options.profile]),
                ("devenv up, new profile", [*devenv, "up", "--detach"]),
                ("devenv up, all is up", [*devenv, "up", "--detach"]),
                ("devenv status", [*devenv, "status"]),
                ("", [*devenv, "down"]),
                ("devenv up, stopped profile", [*devenv, "up", "--detach"]),
                ("", [*devenv, "destroy", "--yes"]),
            ):
                taken = timed(command, folder, variables)
                if name:
                    seconds.setdefault(name, []).append(taken)
    alone = statistics.median(seconds["minikube start, new profile"])
    print(f"{'what':<32} {'seconds':>8}  {'times minikube start':>20}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<32} {median:>8.1f}  {median / alone:>20.2f}")
    print(f"rounds: {options.rounds}; load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    if shutil.which("minikube") is None:
        print("skipped: minikube is not on PATH")
    else:
        main()
