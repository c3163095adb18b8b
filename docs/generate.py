"""Writes `docs/reference/` from the code: commands and flags, settings, errors, JSON lines.

python docs/generate.py            writes what differs
python docs/generate.py --check    exits with 1 when something differs
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REFERENCE = DOCS / "reference"
MADE = "<!-- Made from the code by docs/generate.py: edit the docstrings there. -->\n"


def pages() -> dict[str, str]:
    """Path below `docs/reference/` → content."""
    return {
        "commands.md": commands_page(),
        "settings.md": settings_page(),
        "json.md": json_page(),
        "events.schema.json": json.dumps(events_schema(), indent=2) + "\n",
        "exit-codes.md": exit_codes_page(),
        "verdicts.md": verdicts_page(),
        **error_pages(),
    }


# -- commands


def commands_page() -> str:
    """Every command with its text, arguments and flags, as `--help` has them."""
    from devenv.cli.app import load_command
    from devenv.cli.commands import COMMANDS, GLOBAL_FLAGS

    parts = [MADE, "# Commands\n", "Flags of every command:\n"]
    parts += [_flag_table([(f"`{name}`", text) for name, text in GLOBAL_FLAGS])]
    kinds = dict.fromkeys(command.kind for command in COMMANDS.values())
    for kind in kinds:
        parts.append(f"## {kind}\n")
        for name, command in COMMANDS.items():
            if command.kind == kind:
                parts += _command(name, load_command(name))
    return "\n".join(parts)


def _command(name: str, command: Any, above: str = "devenv", level: int = 3) -> Iterator[str]:
    below = getattr(command, "commands", None)
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = " ".join([above, name, *(_metavar(argument) for argument in arguments), "COMMAND" if below else ""]).strip()
    yield f"{'#' * level} `{usage}`\n"
    yield _text(command.help)
    shown = {flag.split()[0].rstrip(",") for flag, _ in _global_flags()}
    rows = [
        (", ".join(f"`{flag}`" for flag in param.opts) + (f" `{param.metavar}`" if param.metavar else ""), _help(param))
        for param in command.params
        if param.param_type_name == "option" and not set(param.opts) & shown and not param.hidden
    ]
    rows = [(f"`{_metavar(argument)}`", _help(argument)) for argument in arguments] + rows
    if rows:
        yield _flag_table(rows)
    for each, each_command in (below or {}).items():
        yield from _command(each, each_command, f"{above} {name}", level + 1)


def _global_flags() -> Iterator[tuple[str, str]]:
    from devenv.cli.commands import GLOBAL_FLAGS

    for names, text in GLOBAL_FLAGS:
        for name in re.findall(r"--?[a-z-]+", names):
            yield name, text


def _metavar(param: Any) -> str:
    name = param.metavar or param.name.upper()
    return name if param.required else f"[{name}]"


def _help(param: Any) -> str:
    text = (getattr(param, "help", None) or "").replace("|", "\\|")
    default = param.default.value if isinstance(param.default, Enum) else param.default
    shown = isinstance(default, str | int | float) and not isinstance(default, bool) and default not in ("", 0)
    return f"{text} Default: `{default}`." if shown else text


def _text(text: str | None) -> str:
    """A command's help: paragraphs, and examples as a block of code."""
    parts = []
    for paragraph in (text or "").split("\n\n"):
        lines = paragraph.replace("\b\n", "").splitlines()
        code = [line.strip() for line in lines if line.startswith("  ")]
        plain = [line for line in lines if not line.startswith("  ")]
        if plain:
            parts.append("\n".join(plain) + "\n")
        if code:
            parts.append("```console\n" + "\n".join(f"$ {line}" for line in code) + "\n```\n")
    return "\n".join(parts)


def _flag_table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]) + "\n"


# -- settings


def settings_page() -> str:
    """Every setting: its variable, type, default and meaning."""
    from devenv.settings.load import every_key
    from devenv.settings.schema import Settings

    parts = [
        MADE,
        "# Settings\n",
        "Flags go over `DEVENV_SECTION__KEY` variables, those over `devenv.toml`, that over defaults. No file is\n"
        "needed; `devenv init` writes one with every setting as a comment. `devenv config` shows what rules and\n"
        "where it came from. In a variable, lists are written with commas.\n",
    ]
    table = None
    for path, info in every_key():
        if path[:-1] != table:
            table = path[:-1]
            title = f"`[{'.'.join(table)}]`" if table else "Outside any table"
            section = Settings.model_fields[table[0]].annotation if table else None
            about = (section.__doc__ or "").split(": ", 1)[-1] if section is not None else ""
            parts += [f"## {title}\n", f"{about[:1].upper()}{about[1:]}\n" if about else ""]
            parts.append("| setting | variable | default | |\n|---|---|---|---|")
        default = "" if info.default is None or repr(info.default) == "PydanticUndefined" else json.dumps(info.default)
        meaning = " ".join((info.description or "").split()).replace("|", "\\|")
        choices = _choices(info.annotation)
        meaning += f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
        parts.append(
            f"| `{path[-1]}` | `DEVENV_{'__'.join(path).upper()}` | {f'`{default}`' if default else ''} | {meaning} |"
        )
        if path == list(every_key())[-1][0]:
            parts.append("")
    return re.sub(r"\|\n## ", "|\n\n## ", "\n".join(part for part in parts if part))


def _choices(annotation: object) -> list[str]:
    import typing

    if typing.get_origin(annotation) is typing.Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)]


# -- verdicts


def verdicts_page() -> str:
    """The page as it is, with the tables between its marks made from the registry of rules."""
    from devenv.agent.rules import RULES

    def table(found: re.Match[str]) -> str:
        severities = found[1].split(", ")
        rows = ["| rule | what it means | setting |", "|---|---|---|"]
        for rule in RULES:
            if rule.severity in severities:
                setting = f"`check.{rule.setting}`" if rule.setting else ""
                kind = " (information)" if rule.severity == "info" else ""
                rows.append(f"| `{rule.name}` | {rule.meaning}{kind} | {setting} |")
        return f"<!-- rules: {found[1]} -->\n" + "\n".join(rows) + "\n<!-- end -->"

    page = (ROOT / "docs" / "reference" / "verdicts.md").read_text(encoding="utf-8")
    return re.sub(r"<!-- rules: ([a-z, ]+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


# -- errors


@dataclass
class ErrorClass:
    """A class of errors, read from its source: nothing is imported."""

    name: str
    module: str
    bases: list[str]
    text: str
    code: str = ""
    exit_code: str = ""
    family: str = field(default="", compare=False)


def error_classes() -> list[ErrorClass]:
    """Every error with a code, in the order of the codes; families are in `devenv/errors.py`."""
    known: dict[str, ErrorClass] = {}
    for file in sorted((ROOT / "devenv").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found = _error_class(node, module)
                if found.code or found.name not in known:
                    known[found.name] = found
    for each in known.values():
        each.exit_code = each.exit_code or _inherited(each, known)
    return sorted((each for each in known.values() if each.code), key=lambda each: each.code)


def _error_class(node: ast.ClassDef, module: str) -> ErrorClass:
    found = ErrorClass(
        node.name,
        module,
        [
            base.id if isinstance(base, ast.Name) else base.attr
            for base in node.bases
            if isinstance(base, ast.Name | ast.Attribute)
        ],
        ast.get_docstring(node) or "",
    )
    for statement in node.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        value = getattr(statement, "value", None)
        if not isinstance(target, ast.Name):
            continue
        if target.id == "code" and isinstance(value, ast.Constant) and str(value.value).startswith("DEVENV-"):
            found.code = str(value.value)
        elif target.id == "exit_code" and isinstance(value, ast.Attribute):
            found.exit_code = value.attr
    return found


def _inherited(each: ErrorClass, known: dict[str, ErrorClass]) -> str:
    for base in each.bases:
        above = known.get(base)
        if above is not None and above is not each:
            return above.exit_code or _inherited(above, known)
    return "FAILED"


def error_pages() -> dict[str, str]:
    """A page for each code, and the list of all."""
    from devenv.errors import ExitCode

    found = error_classes()
    index = [
        MADE,
        "# Errors\n",
        "Each error has a code, which stays, an exit code, and says what to do next.\n",
        "| code | what it means | exit code |\n|---|---|---|",
    ]
    made = {}
    for each in found:
        first = " ".join(each.text.split("\n\n", 1)[0].split())
        index.append(f"| [{each.code}]({each.code}.md) | {first} | {int(ExitCode[each.exit_code])} |")
        made[f"errors/{each.code}.md"] = "\n".join(
            [
                MADE,
                f"# {each.code}\n",
                f"*{_words(each.name)}.* Exit code {int(ExitCode[each.exit_code])}.\n",
                f"{each.text}\n",
            ]
        )
    return {"errors/index.md": "\n".join(index) + "\n", **made}


def _words(name: str) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    return words[:1].upper() + words[1:]


def exit_codes_page() -> str:
    """What scripts may rely on."""
    tree = ast.parse((ROOT / "devenv" / "errors.py").read_text(encoding="utf-8"))
    node = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ExitCode")
    rows = []
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            said = (
                following.value.value
                if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                else "Done."
            )
            rows.append((str(statement.value.value), " ".join(str(said).split())))
    return "\n".join([MADE, "# Exit codes\n", "Any other code is a failure too.\n", _flag_table(rows)])


# -- JSON lines


def json_page() -> str:
    """The types of lines that `-o json` writes, and their data."""
    from devenv.events import TYPES

    parts = [
        MADE,
        "# JSON lines\n",
        "With `-o json` every command writes one object per line to standard output, as CloudEvents 1.0 does,\n"
        "and nothing to standard error. New types and new keys may appear; none changes its meaning or goes away.\n",
        '```json\n{"specversion": "1.0", "id": "7", "source": "devenv", "type": "devenv.file.synced",\n'
        ' "time": "2026-01-31T08:00:00.000+00:00", "data": {"path": "dags/shop.py", "change": "changed", …}}\n```\n',
        "[events.schema.json](events.schema.json) is the JSON Schema of the events.\n",
        "## Events\n",
    ]
    for event, kind in TYPES.items():
        parts.append(f"### `{kind}`\n")
        parts.append(_event_text(event.__doc__ or "") + "\n")
        fields = ", ".join(f"`{name}`" for name in event.__dataclass_fields__)
        if kind == "devenv.verdict.reached":
            fields = "those of a verdict (`file`, `dag_ids`, `problems` …), `ok`, `milliseconds_since_save`"
        parts.append(f"Data: {fields}.\n")
    parts += ["## Results\n", "| type | written by |\n|---|---|"]
    parts += [f"| `{kind}` | {', '.join(f'`devenv {name}`' for name in names)} |" for kind, names in records().items()]
    parts.append(
        "\n`devenv.error` has `code`, `message`, `hint`, `detail` and `exit_code` ([errors](errors/index.md)).\n"
    )
    return "\n".join(parts)


def _event_text(text: str) -> str:
    import inspect

    return inspect.cleandoc(text).split("\nAttributes:")[0].strip()


def records() -> dict[str, list[str]]:
    """Type of a result line → the commands that write it, from the calls of `record` in the source."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "devenv" / "cli").glob("*.py")):
        for kind in re.findall(r"\.record\(\s*\"([a-z_.]+)\"", file.read_text(encoding="utf-8")):
            names = found.setdefault(f"devenv.{kind}", [])
            if file.stem not in names:
                names.append("up" if file.stem == "summary" else file.stem)
    return dict(sorted(found.items()))


def events_schema() -> dict[str, Any]:
    """JSON Schema of the events."""
    from pydantic import TypeAdapter

    from devenv.events import TYPES

    variants = []
    definitions: dict[str, Any] = {}
    for event, kind in TYPES.items():
        schema = TypeAdapter(event).json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        if kind == "devenv.verdict.reached":
            schema = {"type": "object", "title": "VerdictReached"}
        variants.append({"properties": {"type": {"const": kind}, "data": schema}})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of devenv -o json",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string"},
            "source": {"const": "devenv"},
            "type": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "data": {"type": "object"},
        },
        "anyOf": variants,
        "$defs": definitions,
    }


def differences() -> dict[str, str | None]:
    """Pages that are not as the code says: path → new content, or None for a page that must go."""
    wanted = pages()
    there = {
        path.relative_to(REFERENCE).as_posix(): path
        for path in REFERENCE.rglob("*")
        if path.is_file() and (path.suffix == ".json" or path.read_text(encoding="utf-8").startswith(MADE))
    }
    changed: dict[str, str | None] = {
        path: text
        for path, text in wanted.items()
        if path not in there or there[path].read_text(encoding="utf-8") != text
    }
    return {**changed, **dict.fromkeys(there.keys() - wanted.keys())}


def main() -> int:
    """Writes, or checks."""
    changed = differences()
    for path, text in changed.items():
        sys.stdout.write(f"docs/reference/{path}\n")
        if "--check" in sys.argv:
            continue
        file = REFERENCE / path
        if text is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return 1 if changed and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
