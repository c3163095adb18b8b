"""The text of a DAG file as Python reads it: its lines, its encoding, and where a DAG or a task is made."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import Dict, List, NamedTuple, Optional

_LINE_ENDS = re.compile("\r\n|\r|\n")
_SIZE_LIMIT = 4_000_000


def decoded(data: bytes) -> str:
    """A file's text, in the encoding that it names (PEP 263); bytes that do not fit are replaced."""
    data = data[:_SIZE_LIMIT]
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding, "replace")
    except (SyntaxError, LookupError, UnicodeError):
        return data.decode("utf-8", "replace")


def split_lines(text: str) -> List[str]:
    """The lines as Python counts them.

    `str.splitlines` also breaks at a form feed, at U+0085 and at U+2028, which end no line of a program.
    """
    lines = _LINE_ENDS.split(text)
    if lines and not lines[-1]:
        lines.pop()
    return lines


def parsed(text: str) -> Optional[ast.Module]:
    """The syntax tree; None for what is no Python of this version, or nests too deeply."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class Definitions(NamedTuple):
    """The lines (1-based) at which a file makes DAGs and tasks.

    Attributes:
        dags: DAG id → line, where the id is written out.
        tasks: task id → line.
        unnamed: lines of calls that make a DAG with an id that is computed.
    """

    dags: Dict[str, int]
    tasks: Dict[str, int]
    unnamed: List[int]


def definitions(text: str) -> Definitions:
    """Where the file's DAGs and tasks are made; empty for what is no Python."""
    found = Definitions({}, {}, [])
    tree = parsed(text)
    if tree is None:
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _note_call(node, found)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _note_function(node, found)
    return found


def imported_at(text: str, line: int, module: str) -> str:
    """The whole of what a line imports: `dags` → `dags.helpers.dates`; the module itself when the line does not say.

    Args:
        text: of the file.
        line: of the import.
        module: that was not found, which may be only the first part of what is asked for.
    """
    tree = parsed(text)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or node.lineno != line:
            continue
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for name in names:
            if name.startswith(module + "."):
                return name
    return module


def line_of(text: str, name: str) -> int:
    """The line at which the DAG or task of this id is made; 0 when the file does not say."""
    found = definitions(text)
    line = found.dags.get(name) or found.tasks.get(name)
    if line is None and "." in name:  # a task of a group: its own id has the group's in front
        line = found.tasks.get(name.rpartition(".")[2])
    if line is None and len(found.unnamed) == 1:
        line = found.unnamed[0]
    return line or 0


def _note_call(node: ast.Call, found: Definitions) -> None:
    callee = called_name(node)
    given = {one.arg: one.value for one in node.keywords if one.arg}
    if callee == "DAG":
        name = given.get("dag_id") or (node.args[0] if node.args else None)
        text = _constant(name)
        if text is None:
            found.unnamed.append(node.lineno)
        else:
            found.dags.setdefault(text, node.lineno)
    task = _constant(given.get("task_id"))
    if task is not None:
        found.tasks.setdefault(task, node.lineno)


def _note_function(node: "ast.FunctionDef | ast.AsyncFunctionDef", found: Definitions) -> None:
    for decorator in node.decorator_list:
        whole = dotted_name(decorator)
        given: Dict[str, Optional[str]] = {}
        if isinstance(decorator, ast.Call):
            given = {one.arg: _constant(one.value) for one in decorator.keywords if one.arg}
            if decorator.args and whole.rpartition(".")[2] == "dag":
                given.setdefault("dag_id", _constant(decorator.args[0]))
        if whole.rpartition(".")[2] == "dag":
            found.dags.setdefault(given.get("dag_id") or node.name, node.lineno)
        elif "task" in whole.split("."):
            found.tasks.setdefault(given.get("task_id") or node.name, node.lineno)


def _constant(node: Optional[ast.AST]) -> Optional[str]:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def called_name(node: ast.AST) -> str:
    """The last part of what a call or a name names: `DAG` of `models.DAG(…)`."""
    return dotted_name(node).rpartition(".")[2]


def dotted_name(node: ast.AST) -> str:
    """`task.docker` of `@task.docker(…)`; what is no plain name gives the parts that are."""
    if isinstance(node, ast.Call):
        node = node.func
    parts: List[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))
