"""A file that looks as if it made a DAG, and in which Airflow finds none: why."""

from __future__ import annotations

import ast
import re
from typing import Container, Iterator, List, Optional, Set, Tuple

from devenv.agent.hints import own_modules
from devenv.agent.places import Places
from devenv.agent.problems import Problem, problem
from devenv.agent.source import called_name, dotted_name, parsed

_FACTORY_LIBRARIES = {"dagfactory", "gusty", "cosmos", "boundary_layer", "airflow_declarative", "ditto"}
"""Packages whose calls make DAGs."""
_IMPORTED = re.compile(r"^\s*(?:from|import)\s+\.*(\w*)", re.MULTILINE)
_SAFE_MODE_WORDS = (b"dag", b"airflow")


def passes_safe_mode(path: str) -> bool:
    """Whether Airflow's own heuristic takes a file (airflow.utils.file.might_contain_dag); a zip always passes here."""
    return path.endswith(".zip") or not _missing_words(path)


def _missing_words(path: str) -> List[str]:
    """The words of safe mode that a file does not have; none for a file that cannot be read."""
    try:
        with open(path, "rb") as stream:
            content = stream.read().lower()
    except OSError:
        return []
    return [word.decode() for word in _SAFE_MODE_WORDS if word not in content]


def why_no_dag(
    file: str, places: Places, *, safe_mode: bool, own: Optional[Container[str]] = None
) -> Optional[Problem]:
    """A warning, when the file seems to make a DAG; None for a helper module.

    Args:
        file: as everywhere: `dags/etl.py`.
        places: the roots.
        safe_mode: whether Airflow skips files without its words.
        own: names of the project's own modules; None to look.
    """
    path = places.path(file)
    if path.endswith(".zip"):
        return problem(
            "no-dag-found",
            "no module at the top of this zip defines a DAG",
            severity="warning",
            file=file,
            hint="Airflow looks only at the .py files at the top of a zip, not into its folders.",
        )
    text = places.text(file)
    own = own_modules(places) if own is None else own
    if "dag" not in text.lower() and not any(
        not name or name in own or name in _FACTORY_LIBRARIES for name in _IMPORTED.findall(text)
    ):
        return None  # most of a project's modules: not worth a syntax tree
    line, what = looks_like_dag(text, own)
    if not line:
        return None
    lacks = _missing_words(path) if safe_mode else []
    if lacks:
        missing = f"the word {lacks[0]!r}" if len(lacks) == 1 else " and ".join(f"{word!r}" for word in lacks)
        message = f"Airflow skips this file, though {what}: in safe mode a DAG file must contain {missing}"
        hint = "Add a comment with both words, or set dag_discovery_safe_mode = false in [airflow.config.core]."
    else:
        message = f"no DAG found, though {what}"
        hint = "A @dag function must be called, and a DAG must be at the top level of the module."
    return problem("no-dag-found", message, severity="warning", file=file, line=line, hint=hint, places=places)


def uncalled(file: str, places: Places, found: Container[str]) -> Iterator[Problem]:
    """A warning for each function with `@dag` that is not called, in a file that has other DAGs."""
    tree = parsed(places.text(file))
    if tree is None:
        return
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(called_name(one) == "dag" for one in node.decorator_list):
            if node.name not in used and node.name not in found:
                yield problem(
                    "no-dag-found",
                    f"{node.name} is decorated with @dag and never called",
                    severity="warning",
                    file=file,
                    line=node.lineno,
                    hint=f"Call it at the end of the file: {node.name}()",
                    places=places,
                )


def looks_like_dag(source: str, own: Container[str]) -> Tuple[int, str]:
    """The first line that seems to make a DAG, and what it does; (0, "") for a helper module.

    Args:
        source: of the file.
        own: names of the project's own modules, whose functions may make DAGs.
    """
    tree = parsed(source)
    if tree is None:
        return 0, ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if called_name(decorator) == "dag":
                    return node.lineno, f"{node.name} is decorated with @dag"
        elif isinstance(node, ast.Call) and called_name(node) == "DAG":
            return node.lineno, "DAG(…) is called"
    factories = _factories(tree, own)
    for statement in _at_top(tree.body):
        for call in _calls(statement):
            name = dotted_name(call)
            if name.partition(".")[0] in factories:
                return call.lineno, f"{name}(…) of another module is called"
    return 0, ""


def _factories(tree: ast.Module, own: Container[str]) -> Set[str]:
    """Names in the file that may stand for something that makes DAGs: imported from the project or such a library."""
    found: Set[str] = set()
    for node in tree.body:
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        for name in node.names:
            top = (getattr(node, "module", None) or name.name).partition(".")[0]
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            if top in own or top in _FACTORY_LIBRARIES or relative:
                found.add((name.asname or name.name).partition(".")[0])
    return found


def _at_top(body: List[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the file is imported, those in `if`, `for`, `with` and `try` included."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
            continue
        if isinstance(statement, ast.If) and _is_main(statement.test):
            continue
        inner = [one for name in ("body", "orelse", "finalbody") for one in getattr(statement, name, ())]
        yield statement
        yield from _at_top(inner)
        for handler in getattr(statement, "handlers", ()):
            yield from _at_top(handler.body)


def _is_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _calls(statement: ast.stmt) -> Iterator[ast.Call]:
    """The calls of a statement itself whose value is kept, entered or dropped: no argument of another call."""
    expressions: List[Optional[ast.AST]] = []
    if isinstance(statement, ast.Expr):
        expressions.append(statement.value)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        expressions.append(statement.value)
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        expressions += [item.context_expr for item in statement.items]
    for expression in expressions:
        if isinstance(expression, ast.Call):
            yield expression
