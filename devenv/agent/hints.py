"""What to do about an import or a name that does not exist: checked against what is there before it is advised."""

from __future__ import annotations

import builtins
import difflib
import importlib.util
import os
import re
import sys
from typing import Dict, Iterable, Iterator, List, Optional, Tuple

from devenv.agent.deprecated import moved
from devenv.agent.places import Places
from devenv.agent.providers import DECORATORS, MODULES

# Modules whose distribution has another name. (Anything else is looked for under its own.)
_DISTRIBUTIONS = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "git": "GitPython",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "MySQLdb": "mysqlclient",
    "PIL": "Pillow",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
    "snowflake": "snowflake-connector-python",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
_NAMESPACES = ("google.cloud", "azure", "opentelemetry")
_PROVIDER = "apache-airflow-providers-"

# Modules of providers that moved, or that a later provider dropped → where the class is now.
_PROVIDER_MODULES = {
    "airflow.providers.cncf.kubernetes.operators.kubernetes_pod": (
        "from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator"
    ),
}
_FOLDER_NAMES = {
    *(
        "common",
        "config",
        "configs",
        "custom_operators",
        "dags",
        "helper",
        "helpers",
        "hooks",
        "include",
        "lib",
        "libs",
    ),
    *("modules", "operators", "plugins", "scripts", "sensors", "shared", "sql", "src", "tasks", "utils", "utilities"),
}
_PROVIDERS_OF_THE_IMAGE = {
    *("amazon", "celery", "cncf-kubernetes", "docker", "elasticsearch", "ftp", "google", "grpc", "hashicorp", "http"),
    *("imap", "microsoft-azure", "mysql", "odbc", "openlineage", "postgres", "redis", "sendgrid", "sftp", "slack"),
    *("smtp", "snowflake", "sqlite", "ssh"),
}
"""What apache/airflow installs beside Airflow (`AIRFLOW_EXTRAS` of its Dockerfile, 2.7 to 3.x)."""
_SQL_OPERATORS = re.compile(
    r"airflow\.providers\.(postgres|mysql|sqlite|mssql|microsoft\.mssql|jdbc|oracle|trino|presto|vertica|exasol|snowflake)"
    r"\.operators(\.\w+)?"
)
"""Their `…Operator` was only SQLExecuteQueryOperator by another name, and is gone from their current versions."""
_SEARCHED_LIMIT = 20_000


def missing_module(
    name: str, message: str, places: Places, main: str, version: Tuple[int, ...]
) -> Tuple[str, str, str]:
    """Rule, message and hint for a module that cannot be imported.

    Args:
        name: of the module: `airflow.providers.slack.hooks`.
        message: Python's.
        places: the roots.
        main: the DAG file that was parsed.
        version: of Airflow.
    """
    for ask in _QUESTIONS:
        hint = ask(name, places, main, version)
        if hint:
            return "missing-module", message, hint
    package = distribution(name)
    line = f"Add a line to requirements.txt: {package}"
    if package.replace(_PROVIDER, "") in _PROVIDERS_OF_THE_IMAGE:
        line += "   (the image apache/airflow has it; this installation does not)"
    return "missing-package", message, line


def _beside(name: str, places: Places, main: str, _version: Tuple[int, ...]) -> str:
    folder = os.path.dirname(places.path(main))
    if "." in name or folder == places.dag_folder or not is_module(folder, name):
        return ""
    package = os.path.relpath(folder, places.dag_folder).replace(os.sep, ".")
    return f"It lies beside this file, but Airflow imports from the DAG folder: from {package} import {name}"


def _of_the_project(name: str, places: Places, _main: str, _version: Tuple[int, ...]) -> str:
    """A folder of the project in front of the module's name, or a module that it does not have."""
    top, _, rest = name.partition(".")
    own = own_modules(places)
    roots = {os.path.basename(folder): root for root, folder in places.folders.items()}
    roots.update({root: root for root in places.folders})
    if top in roots and top not in own:
        folder = places.folders[roots[top]]
        if rest and is_module(os.path.join(folder, *rest.split(".")[:-1]), rest.rpartition(".")[2]):
            return f"The folder {top}/ itself is on the path: import {rest}"
        return f"The folder {top}/ itself is on the path, and {top} is no module: leave out {top!r} in the import"
    if top in own and rest:
        parent, _, last = name.rpartition(".")
        if not is_module(own[top], top) or os.path.isfile(os.path.join(own[top], top + ".py")):
            where = os.path.relpath(os.path.join(own[top], top + ".py"), os.path.dirname(own[top]))
            return f"{where} is a file, not a package: a package {top!r} of another origin is hidden by it"
        near = nearest(last, modules_in(os.path.join(own[top], *name.split(".")[:-1])))
        return f"Did you mean {parent}.{near}?" if near else f"There is no such module in {parent}."
    return ""


def _of_airflow(name: str, _places: Places, _main: str, version: Tuple[int, ...]) -> str:
    if not name.startswith("airflow.") or name.startswith("airflow.providers."):
        return ""
    return moved(name, "", version) or "This release of Airflow has no such module."


def _of_a_provider(name: str, _places: Places, _main: str, _version: Tuple[int, ...]) -> str:
    """A module that the provider which is installed does not have, or no longer."""
    if not name.startswith("airflow.providers."):
        return ""
    package = distribution(name)
    installed = installed_version(package)
    if not installed:
        return _no_provider(name.split(".")[2:])
    there = f"{package} {installed} is installed and has no module {name}"
    if name in _PROVIDER_MODULES:
        return f"{there}: {_PROVIDER_MODULES[name]}"
    if _SQL_OPERATORS.fullmatch(name):
        operator = "from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator"
        return f"{there}: {operator}, with conn_id"
    near = nearest(name.rpartition(".")[2], _siblings(name))
    parent = name.rpartition(".")[0]
    return f"{there}: did you mean {parent}.{near}?" if near else f"{there}; see the changelog of the provider."


def _no_provider(below: List[str]) -> str:
    """Where no provider of Airflow's has such modules; "" where one does."""
    if not below or below[0] in MODULES or ".".join(below[:2]) in MODULES:
        return ""
    nested = [known for known in MODULES if known.startswith(below[0] + ".")]
    within = [known for known in MODULES if known.endswith("." + below[0])]  # `spark` of apache.spark
    near = within[0] if within else nearest(".".join(below[:2]), nested) or nearest(below[0], MODULES)
    if near:
        return f"Airflow has no provider with this module: did you mean airflow.providers.{near}?"
    if nested:
        return (
            f"Airflow has no provider with this module, only {', '.join(f'airflow.providers.{one}' for one in nested)}."
        )
    return "Airflow has no provider with this module; one of another maker has a name of its own on the package index."


def _siblings(name: str) -> List[str]:
    try:
        spec = importlib.util.find_spec(name.rpartition(".")[0])
    except (ImportError, ValueError):
        return []
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return [module for folder in folders for module in modules_in(folder)]


def _deeper_down(name: str, places: Places, _main: str, _version: Tuple[int, ...]) -> str:
    top = name.partition(".")[0]
    if top in sys.builtin_module_names or installed_version(distribution(name)):
        return ""
    for root, folder, package in _packages(places):
        if is_module(folder, top):
            where = "/".join([root, *package])
            return f"It lies in {where}/: import {'.'.join([*package, name])}"
    return ""


def _packages(places: Places) -> Iterator[Tuple[str, str, List[str]]]:
    """The folders below the roots: root, path, and the names on the way."""
    seen = 0
    for root, top in places.folders.items():
        for folder, below, _files in os.walk(top):
            below[:] = [one for one in sorted(below) if one.isidentifier() and one != "__pycache__"]
            seen += 1
            if seen > _SEARCHED_LIMIT:
                return
            if folder != top:
                yield root, folder, os.path.relpath(folder, top).split(os.sep)


def _folder_of_the_project(name: str, places: Places, _main: str, _version: Tuple[int, ...]) -> str:
    """A name that is a project's folder much rather than a package of PyPI, where anybody may have taken it."""
    top = name.partition(".")[0]
    if top not in _FOLDER_NAMES:
        return ""
    roots = " or ".join(f"{root}/" for root in places.folders)
    return (
        f"There is no {top} in {roots}: if it is a folder beside {places.dags}/, "
        f'set sync.folders = ["{top}"] in devenv.toml'
    )


def _misspelt(name: str, places: Places, _main: str, _version: Tuple[int, ...]) -> str:
    top = name.partition(".")[0]
    near = nearest(top, own_modules(places))
    if not near and "." not in name:
        near = nearest(top, getattr(sys, "stdlib_module_names", ()), cutoff=0.8)
    return f"Did you mean {near}?" if near and near != top else ""


def _of_a_package(name: str, _places: Places, _main: str, _version: Tuple[int, ...]) -> str:
    """A module that its package, which is installed, does not have; or a file of the project that hides the package."""
    package = distribution(name)
    installed = installed_version(package)
    if not installed:
        return ""
    top = name.partition(".")[0]
    loaded = getattr(sys.modules.get(top), "__file__", None)
    where = f" (imported from {loaded})" if isinstance(loaded, str) else ""
    return f"{package} {installed} is installed{where} and has no module {name}: another version may have it."


_QUESTIONS = (
    _beside,
    _of_the_project,
    _of_airflow,
    _of_a_provider,
    _deeper_down,
    _folder_of_the_project,
    _misspelt,
    _of_a_package,
)
"""Asked in this order; the first that has an answer gives the hint."""


def decorator(name: str) -> str:
    """What to install for a decorator `@task.NAME` that does not exist."""
    if name not in DECORATORS:
        near = nearest(name, DECORATORS)
        return (
            f"Did you mean @task.{near}?"
            if near
            else "Decorators of @task come with providers; none of Airflow's has this."
        )
    package = _PROVIDER + DECORATORS[name]
    if installed_version(package):
        return f"{package} {installed_version(package)} is installed and has no such decorator."
    return f"Add a line to requirements.txt: {package}"


def installed_version(package: str) -> str:
    """The version of a package that is installed; "" when it is not."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def distribution(module: str) -> str:
    """The name under which a module is installed (`airflow.providers.slack`: `apache-airflow-providers-slack`)."""
    parts = module.split(".")
    if parts[:2] == ["airflow", "providers"]:
        known = MODULES.get(".".join(parts[2:4])) or MODULES.get("".join(parts[2:3]))
        return _PROVIDER + (known or "-".join(parts[2:3]))
    for namespace in _NAMESPACES:
        if module.startswith(namespace + "."):
            return "-".join(parts[: namespace.count(".") + 2])
    return _DISTRIBUTIONS.get(parts[0], parts[0].replace("_", "-"))


def own_modules(places: Places) -> Dict[str, str]:
    """Importable names of the roots: module → the folder that holds it."""
    return {name: folder for folder in places.folders.values() for name in modules_in(folder)}


def modules_in(folder: str) -> List[str]:
    """The modules and packages at the top of a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [
        name[:-3] if name.endswith(".py") else name
        for name in names
        if name.endswith(".py") or ("." not in name and os.path.isdir(os.path.join(folder, name)))
    ]


def is_module(folder: str, name: str) -> bool:
    """Whether a folder has this module or package."""
    return os.path.isfile(os.path.join(folder, name + ".py")) or os.path.isdir(os.path.join(folder, name))


def nearest(name: str, names: Iterable[str], cutoff: float = 0.7) -> str:
    """The name that is meant, or ""."""
    found = difflib.get_close_matches(name, [str(other) for other in names], 1, cutoff)
    return found[0] if found and found[0] != name else ""


def syntax(line: str) -> str:
    """What to do about a line that only a newer Python than Airflow's takes; "" for what none does.

    Args:
        line: of the file, at which Python stopped.
    """
    for version, pattern in _NEWER_SYNTAX:
        if sys.version_info[:2] < version and pattern.search(line):
            here, there = (".".join(map(str, one)) for one in (sys.version_info[:2], version))
            return f"Airflow runs on Python {here} here; this is syntax of Python {there}."
    return ""


_NEWER_SYNTAX = (
    ((3, 10), re.compile(r"^\s*match\s.+:\s*(#.*)?$")),
    ((3, 11), re.compile(r"^\s*except\s*\*")),
    ((3, 12), re.compile(r"^\s*type\s+\w+\s*(\[.*\])?\s*=")),
    ((3, 12), re.compile(r"^\s*(async\s+)?(def|class)\s+\w+\s*\[")),
    (
        (3, 12),
        re.compile(r"""\b[fF][rR]?(["'])[^"']*\{[^}]*\1[^}]*\1[^}]*\}"""),
    ),  # its own quotes, in a replacement field
    ((3, 12), re.compile(r"""\b[fF][rR]?["'].*\{[^}]*\\[^}]*\}""")),
    ((3, 14), re.compile(r"""\b[tT][rR]?["']""")),
)
"""Release of Python → what its grammar has new, by the line at which an older one stops (What's New in Python)."""


def missing_file(path: str, places: Places) -> str:
    """Where a file lies that was looked for under a path of another machine; "" when it is not in the project."""
    for root, folder in places.folders.items():
        _before, found, rest = path.partition(f"/{root}/")
        if found and os.path.exists(os.path.join(folder, rest)):
            return f"Here {root}/ is {folder}: a path made from Path(__file__).parent is right in both places."
    return ""


def import_name(message: str, module: Optional[str], version: Tuple[int, ...]) -> str:
    """What to do about a name that a module does not have, by Python's message."""
    if "partially initialized module" in message or "circular import" in message:
        return "Two modules import each other: move what both need into a third."
    asked = re.search(r"cannot import name '([^']+)' from '([^']+)'", message)
    if asked is None:
        return ""
    place = moved(module or asked.group(2), asked.group(1), version)
    if place:
        return place
    near = nearest(asked.group(1), dir(sys.modules.get(asked.group(2), object())))
    return f"Did you mean {near}?" if near else ""


def name(error: NameError) -> str:
    """What is meant by a name that is not defined."""
    asked = re.search(r"name '([^']+)' is not defined", str(error))
    trace = error.__traceback__
    if asked is None or trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    near = nearest(asked.group(1), {*frame.f_locals, *frame.f_globals, *dir(builtins)})
    if near:
        return f"Did you mean {near}?"
    if asked.group(1) in getattr(sys, "stdlib_module_names", ()):
        return f"import {asked.group(1)} is missing."
    return ""


def attribute(error: AttributeError, message: str) -> str:
    """What is meant by an attribute that does not exist."""
    asked = re.search(r"has no attribute '([^']+)'", message)
    target = getattr(error, "obj", None)  # from Python 3.10 on
    if asked is None or target is None:
        return ""
    near = nearest(asked.group(1), dir(target))
    return f"Did you mean {near}?" if near else ""
