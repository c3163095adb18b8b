"""Cold and second start of the local backend, beside `airflow standalone` of the same release in the same run.

    python benchmarks/local.py [RELEASE ...]

Cold: no virtual environment, no database, packages in uv's cache. Second: after `devenv down`. `airflow standalone`
gets the same packages, installed by the same uv, and its usual SQLite. Each time ends when Airflow's page says that
database and scheduler are healthy.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from devenv.environment import Environment
from devenv.local.airflow_processes import health
from devenv.local.virtualenv import Installer
from devenv.supervisor.guardian import __file__ as guardian

DAG = """
from datetime import datetime
from airflow.decorators import dag, task

@dag(schedule=None, start_date=datetime(2023, 1, 1))
def hello():
    task(print)("hello")

hello()
"""


def timed(what: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.monotonic()
    what()
    return time.monotonic() - start


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def devenv(folder: Path, *arguments: str) -> None:
    """Runs a command of devenv in a project, with cache and data of its own."""
    variables = {**os.environ, "DEVENV_CACHE": str(folder / "cache"), "DEVENV_DATA": str(folder / "data")}
    command = [sys.executable, "-m", "devenv", *arguments, "--project", str(folder / "shop")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def measure_devenv(folder: Path, release: str) -> tuple[float, float]:
    """Seconds of the cold and of the second start."""
    up = ("up", "--detach", "--backend", "local", "--airflow-version", release, "--port", str(free_port()))
    try:
        cold = timed(lambda: devenv(folder, *up))
        devenv(folder, "down")
        return cold, timed(lambda: devenv(folder, *up))
    finally:
        devenv(folder, "destroy", "--yes")


def measure_standalone(folder: Path, release: str) -> tuple[float, float, float]:
    """Seconds to install, then of the first and of the second start."""
    environment = Environment(variables={**os.environ, "DEVENV_CACHE": str(folder / "cache")})
    start = time.monotonic()
    python = Installer(environment).airflow(release, folder / "none", lambda _line: None)
    install = time.monotonic() - start
    port = free_port()
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "shop" / "dags"),
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
    }

    def run() -> float:
        # The guardian ends `standalone` with everything that it started.
        command: list[str | Path] = [
            sys.executable,
            "-I",
            guardian,
            '{"grace": 5}',
            python,
            "-m",
            "airflow",
            "standalone",
        ]
        start = time.monotonic()
        child = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while True:
                found = health(release, port)
                if found.get("metadatabase") == found.get("scheduler") == "healthy":
                    return time.monotonic() - start
                if child.poll() is not None or time.monotonic() - start > 900:
                    sys.exit(f"airflow standalone {release} did not become healthy")
                time.sleep(0.1)
        finally:
            child.terminate()
            child.wait()

    return install, run(), run()


def main(releases: list[str]) -> None:
    """Prints a table."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, one run each, seconds")
    print("| release | devenv cold | second | standalone cold (install + start) | second | ratio cold | ratio second |")
    print("|---|---|---|---|---|---|---|")
    for release in releases:
        folder = Path(tempfile.mkdtemp(prefix="devenv-benchmark-"))
        beside = Path(tempfile.mkdtemp(prefix="devenv-benchmark-"))
        for each in (folder, beside):
            (each / "shop" / "dags").mkdir(parents=True)
            (each / "shop" / "dags" / "hello.py").write_text(DAG)
            each.chmod(0o755)
        try:
            cold, second = measure_devenv(folder, release)
            install, start, again = measure_standalone(beside, release)
        finally:
            shutil.rmtree(folder)
            shutil.rmtree(beside)
        whole = install + start
        print(
            f"| {release} | {cold:.1f} | {second:.1f} | {install:.1f} + {start:.1f} = {whole:.1f} | {again:.1f} "
            f"| {whole / cold:.1f} | {again / second:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ["2.7.2", "3.3.2"])
