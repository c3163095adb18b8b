"""The programs of Vault's and Airflow's pods, imported from where they lie, so that there is one of each."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from devenv.resources import platform_folder


def folder() -> Path:
    """`minikube/base/programs`."""
    return platform_folder() / "base" / "programs"


@functools.cache
def load(name: str) -> ModuleType:
    """The module `fetch_secrets` or `seed_vault`."""
    path = folder() / f"{name}.py"
    if name == "seed_vault":
        load("fetch_secrets")
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module
