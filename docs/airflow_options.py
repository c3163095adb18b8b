"""Writes `devenv/airflow/options.json`: which options each series of Airflow has, from the releases' own files.

    python docs/airflow_options.py [RELEASE …]

Each release is fetched from the package index, without what it depends on; without arguments, the newest of each
series from 2.7 on. From its `config_templates/config.yml` come the options, from `deprecated_options` in its
configuration parser the renames; renames that are in the file already stay, since later releases forget them.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import yaml

from devenv import process
from devenv.published import uv

TARGET = Path(__file__).resolve().parent.parent / "devenv" / "airflow" / "options.json"
SERIES = ("2.7", "2.8", "2.9", "2.10", "2.11", "3.0", "3.1", "3.2", "3.3", "3.4")
_PARSERS = (
    "airflow/configuration.py",
    "airflow/_shared/configuration/parser.py",
    "airflow/sdk/_shared/configuration/parser.py",
)
_READ_ALL_THE_SAME = {("core", "mp_start_method")}
"""Options that some releases read though their file does not name them, as those before and after do."""
_WIDTH = 100


def fetch(wanted: str, folder: Path) -> Path:
    """A release's own files, in a folder: of 3.x those of `apache-airflow-core`."""
    package = "apache-airflow" if wanted.startswith("2.") else "apache-airflow-core"
    asked = wanted if wanted.count(".") > 1 else f"{wanted}.*"
    target = folder / wanted
    command = [
        uv(),
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--prerelease",
        "if-necessary",
        "--python-version",
        "3.11",
    ]
    process.run([*command, "--target", target, f"{package}=={asked}"], timeout=600)
    return target


def options(release: Path) -> dict[str, set[str]]:
    """Section → names of its options."""
    content = yaml.safe_load((release / "airflow/config_templates/config.yml").read_text(encoding="utf-8"))
    return {section: set(about.get("options") or {}) for section, about in content.items()}


def renames(release: Path) -> Iterator[tuple[str, str]]:
    """`section.name` of an option that was renamed, and what it is called now."""
    for name in _PARSERS:
        path = release / name
        if not path.is_file():
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            if any(isinstance(each, ast.Name) and each.id == "deprecated_options" for each in targets):
                try:
                    found = ast.literal_eval(node.value)  # type: ignore[attr-defined]
                except (ValueError, TypeError):
                    continue
                for (section, option), former in found.items():
                    yield f"{former[0]}.{former[1]}", f"{section}.{option}"


def spans(present: list[bool], names: list[str]) -> Iterator[str]:
    """The unbroken runs of releases that have something: `2.7-3.0`."""
    start = None
    for number, has in enumerate([*present, False]):
        if has and start is None:
            start = number
        elif not has and start is not None:
            yield f"{names[start]}-{names[number - 1]}"
            start = None


def main() -> None:
    """Fetches, reads and writes."""
    releases = sys.argv[1:] or list(SERIES)
    names = [".".join(release.split(".")[:2]) for release in releases]
    with tempfile.TemporaryDirectory() as folder:
        fetched = [fetch(release, Path(folder)) for release in releases]
        tables = [options(release) for release in fetched]
        moved = [dict(renames(release)) for release in fetched]
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for section in sorted({section for table in tables for section in table}):
        for option in sorted({option for table in tables for option in table.get(section, ())}):
            present = [option in table.get(section, ()) for table in tables]
            if (section, option) in _READ_ALL_THE_SAME:
                first, last = present.index(True), len(present) - present[::-1].index(True)
                present[first:last] = [True] * (last - first)
            for span in spans(present, names):
                found[section][span].add(option)
    known = json.loads(TARGET.read_text(encoding="utf-8"))["renames"]
    for table in moved:
        for former, now in table.items():
            words = known.get(former, "").split()
            known[former] = " ".join([*words, *([] if now in words else [now])])
    content = {
        "options": {
            section: {span: _wrapped(words) for span, words in sorted(by_span.items(), key=lambda item: _key(item[0]))}
            for section, by_span in found.items()
        },
        "renames": dict(sorted(known.items())),
    }
    TARGET.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{TARGET.name}: {', '.join(names)}\n")


def _key(span: str) -> list[list[int]]:
    return [[int(number) for number in end.split(".")] for end in span.split("-")]


def _wrapped(words: set[str]) -> str | list[str]:
    lines = textwrap.wrap(" ".join(sorted(words)), _WIDTH, break_on_hyphens=False, break_long_words=False)
    return lines[0] if len(lines) == 1 else lines


if __name__ == "__main__":
    main()
