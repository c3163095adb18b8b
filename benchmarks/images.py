"""An image that adds a little to Airflow's, into a minikube node that has Airflow's: three ways, in one run.

    python benchmarks/images.py [PROFILE] [--image apache/airflow:2.7.2] [--rounds 3]

PROFILE runs (without one: the first that does), and its node's containerd holds the image: any environment that
`devenv up` made. Each way begins without the added image. Whole is `docker save` into the node's `ctr`; lacking is the
same without what the node holds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devenv.cluster.access import kubeconfig_paths
from devenv.environment import Environment
from devenv.minikube.images import Loader, full_name
from devenv.minikube.program import Minikube

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.volume import running_profile

ADDED = "devenv-benchmark/added:latest"


class Whole(Loader):
    """Without the look at what the node has."""

    def _held(self, _images: object, _runtime: str) -> frozenset[str]:
        return frozenset()


def build(base: str, round_: int) -> None:
    """The added image, new in each round."""
    with tempfile.TemporaryDirectory() as context:
        lines = f"FROM {base}\nCOPY added /opt/added\n"
        (Path(context) / "Dockerfile").write_text(lines)
        (Path(context) / "added").write_text(f"{round_} {time.time()}")
        variables = {**os.environ, "DOCKER_BUILDKIT": "0"}
        command = ["docker", "build", "--quiet", "--tag", ADDED, context]
        subprocess.run(command, env=variables, check=True, capture_output=True)


def timed(action: Callable[[], object]) -> float:
    """Its seconds."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="?")
    parser.add_argument("--image", default="apache/airflow:2.7.2")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    profile = options.profile or running_profile()
    environment = Environment()
    minikube = Minikube(profile, environment, kubeconfig_paths(environment.variables, environment.home)[0])
    remove = ["docker", "exec", profile, "ctr", "-n", "k8s.io", "images", "rm", "--sync", full_name(ADDED)]
    seconds: dict[str, list[float]] = {"minikube image load": [], "whole": [], "lacking": []}
    for round_ in range(options.rounds):
        build(options.image, round_)
        for name, action in (
            ("minikube image load", lambda: minikube.load_images([ADDED])),
            ("whole", lambda: Whole(minikube, environment).load([ADDED], "containerd")),
            ("lacking", lambda: Loader(minikube, environment).load([ADDED], "containerd")),
        ):
            seconds[name].append(timed(action))
            subprocess.run(remove, check=True, capture_output=True)
    subprocess.run(["docker", "image", "rm", ADDED], check=True, capture_output=True)
    for name, values in seconds.items():
        print(
            f"{name:<22} median {statistics.median(values):6.1f} s   all {' '.join(f'{value:.1f}' for value in values)}"
        )
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}")
