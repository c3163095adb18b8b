"""An image in place of one that is not everywhere: a Python program under the other's name and at its port."""

from __future__ import annotations

import json
import subprocess

BASE = "apache/airflow:2.7.2"


def make_stand_in(image: str, program: str) -> None:
    """Makes an image in the laptop's Docker engine whose entrypoint is a Python program, with Airflow's packages."""

    def docker(*arguments: str) -> str:
        return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()

    container = docker("create", BASE)
    try:
        entrypoint = json.dumps(["python", "-c", program])
        docker("commit", "--change", f"ENTRYPOINT {entrypoint}", "--change", "CMD []", container, image)
    finally:
        docker("rm", container)
