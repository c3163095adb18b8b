"""The reference is made from the code; these tests fail when something has no words, or the pages are old."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from devenv.cli.app import load_command
from devenv.cli.commands import COMMANDS
from devenv.settings.load import every_key

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    import sys

    sys.modules["generate"] = module  # its dataclasses look themselves up
    specification.loader.exec_module(module)
    return module


def test_every_error_has_a_code_of_its_own_and_a_page(generate: ModuleType) -> None:
    errors = generate.error_classes()
    assert [code for code, count in Counter(error.code for error in errors).items() if count > 1] == []
    assert [error.name for error in errors if not error.text] == []


def test_every_command_and_flag_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    readme = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"devenv {name}`" in page or f"devenv {name} " in page
        assert f"`devenv {name}`" in readme, f"README's table of commands lacks {name}"
        command = load_command(name)
        for each in getattr(command, "commands", {"": command}).values():
            for param in each.params:
                assert param.param_type_name == "argument" or param.opts[0] in page, f"{name} {param.opts[0]}"


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for path, info in every_key():
        assert info.description, f"{'.'.join(path)} has no docstring"
        assert f"`DEVENV_{'__'.join(path).upper()}`" in page


def test_the_reference_is_as_the_code_says(generate: ModuleType) -> None:
    assert list(generate.differences()) == [], "run: python docs/generate.py"


def test_every_test_that_the_fault_table_names_is_there() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 20
    assert [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or (name and f"def {name}(" not in (ROOT / file).read_text())
    ] == []


def test_every_room_is_on_the_map_of_the_design_page() -> None:
    page = (ROOT / "docs" / "design.md").read_text()
    mapped = set(re.findall(r"^      ([a-z_]+)/?(?= )", page, re.MULTILINE))
    rooms = {
        path.stem for path in (ROOT / "devenv").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__", "__main__"} == mapped
