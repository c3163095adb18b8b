"""Where the files that are not Python lie: the platform's manifests and the sample DAGs.

In a checkout they stand at its top level, where people read them; a wheel carries them inside the package.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    packaged = _PACKAGE / "_resources" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def platform_folder() -> Path:
    """The folder `minikube/`: a kustomize base, its components and the programs that run in pods."""
    return _folder("minikube")


def sample_dags_folder() -> Path:
    """The folder `dags/`: one sample per pattern."""
    return _folder("dags")
