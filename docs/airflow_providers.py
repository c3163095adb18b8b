"""Writes `devenv/agent/providers.py`: which provider has a module or a decorator, from the providers' own metadata.

    python docs/airflow_providers.py

The names of providers are the extras of Airflow's newest releases of 2.x and 3.x; what each has is in its
`get_provider_info.py`, in its newest version on the package index. Nothing is installed that they depend on.
"""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from devenv import process
from devenv.published import uv

TARGET = Path(__file__).resolve().parent.parent / "devenv" / "agent" / "providers.py"
RELEASES = ("apache-airflow<3", "apache-airflow>=3")
_PREFIX = "apache-airflow-providers-"
_HEADING = '''"""Airflow's providers, and the decorators that come with them. Written by `docs/airflow_providers.py`."""
'''


def fetch(folder: Path, *packages: str) -> Path:
    """The packages' own files, in a folder."""
    command = [uv(), "pip", "install", "--quiet", "--no-deps", "--python-version", "3.11", "--target", str(folder)]
    process.run([*command, *packages], timeout=900)
    return folder


def names(folder: Path) -> set[str]:
    """The providers that are extras of the Airflow in a folder: `microsoft-azure`."""
    (metadata,) = folder.glob("apache_airflow-*.dist-info/METADATA")
    found = re.findall(rf"^Requires-Dist: {_PREFIX}([a-z0-9-]+)", metadata.read_text(encoding="utf-8"), re.MULTILINE)
    return set(found)


def information(folder: Path) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Name of a provider, its package of modules, and what it says of itself."""
    for file in sorted((folder / "airflow" / "providers").rglob("get_provider_info.py")):
        module = ".".join(file.parent.relative_to(folder).parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Return) and node.value is not None:
                info = ast.literal_eval(node.value)
                yield str(info["package-name"]).removeprefix(_PREFIX), module, info


def main() -> None:
    """Writes the table."""
    with tempfile.TemporaryDirectory() as place:
        wanted = set().union(*(names(fetch(Path(place, str(n)), each)) for n, each in enumerate(RELEASES)))
        folder = fetch(Path(place, "providers"), *(f"{_PREFIX}{name}" for name in sorted(wanted)))
        modules: dict[str, str] = {}
        decorators: dict[str, str] = {}
        for name, module, info in information(folder):
            modules[module.removeprefix("airflow.providers.")] = name
            for decorator in info.get("task-decorators", ()):  # type: ignore[attr-defined]
                decorators[decorator["name"]] = name
    missing = wanted - set(modules.values())
    modules |= {name.replace("-", "."): name for name in missing}
    lines = [_HEADING, "MODULES = {", *(f'    "{module}": "{modules[module]}",' for module in sorted(modules)), "}"]
    lines += ['"""Package of modules below `airflow.providers` → the provider that has it."""', "", "DECORATORS = {"]
    lines += [*(f'    "{name}": "{decorators[name]}",' for name in sorted(decorators)), "}"]
    lines += ['"""Decorator of `@task` → the provider that brings it."""']
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
