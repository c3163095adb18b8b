"""The names of DAGs and tasks as their files spell them, read without running anything: for completion only.

A name that is put together while the file runs (an f-string, a loop) is not found.
"""

from __future__ import annotations

import ast
import itertools
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from devenv.files import read_regular

_FILES = 500
_LARGEST = 500_000


def dag_names(folder: Path, *, until: float = math.inf) -> dict[str, tuple[str, ...]]:
    """DAG id → the task ids of its file, for the files below a DAG folder that can be read.

    Args:
        folder: may hold anything: pipes, links to devices, files nested too deeply for Python.
        until: on the monotonic clock, when to give back what was found so far.
    """
    found: dict[str, tuple[str, ...]] = {}
    for file in itertools.islice(_python_files(folder), _FILES):
        if time.monotonic() > until:
            break
        try:
            content = read_regular(file, _LARGEST)
            tree = ast.parse(content) if content is not None else ast.Module([], [])
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        dags: set[str] = set()
        tasks: set[str] = set()
        for kind, name in _names(tree):
            (dags if kind == "dag" else tasks).add(name)
        found.update(dict.fromkeys(sorted(dags), tuple(sorted(tasks))))
    return found


def _python_files(folder: Path) -> Iterator[Path]:
    for where, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith((".", "__pycache__")))
        yield from (Path(where, name) for name in sorted(files) if name.endswith(".py"))


def _names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            first = node.args[0] if node.args and _last(node.func) == "DAG" else None
            for kind, value in (("dag", given.get("dag_id") or first), ("task", given.get("task_id"))):
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield kind, value.value
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else None
                kind = _decorated(call.func if call else decorator)
                named = {keyword.arg for keyword in call.keywords} if call else set()
                first = call.args[0] if call and call.args and kind == "dag" else None
                if isinstance(first, ast.Constant):
                    yield kind, str(first.value)
                elif kind and f"{kind}_id" not in named:
                    yield kind, node.name


def _decorated(decorator: ast.expr) -> str:
    """`dag` of `@dag`, `task` of `@task` and `@task.branch`; "" for another decorator."""
    while isinstance(decorator, ast.Attribute) and _last(decorator.value) == "task":
        decorator = decorator.value
    name = _last(decorator)
    return name if name in ("dag", "task") else ""


def _last(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
