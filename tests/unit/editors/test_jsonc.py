"""A launch configuration goes into an editor's file, and what the user has there stays."""

from __future__ import annotations

import pytest

from devenv.editors.jsonc import NotJson, put_into_array

VSCODE = """\
{
    // Use IntelliSense to learn about possible attributes.
    "version": "0.2.0", /* "configurations": [] */
    "configurations": [
        {
            "name": "Python: Current File", // "kept"
            "args": ["a, ]", "// no comment"],
        },
    ]
}
"""


def test_comments_and_the_users_own_configurations_stay() -> None:
    once = put_into_array(VSCODE, "configurations", {"name": "ours", "port": 1}, by="name")
    for line in VSCODE.splitlines():
        assert line in once
    assert once.index('"ours"') < once.index("Python: Current File")
    assert '        {\n            "name": "ours",\n            "port": 1\n        },' in once


def test_a_second_time_the_same_configuration_is_replaced() -> None:
    once = put_into_array(VSCODE, "configurations", {"name": "ours", "port": 1}, by="name")
    twice = put_into_array(once, "configurations", {"name": "ours", "port": 2}, by="name")
    assert twice == once.replace('"port": 1', '"port": 2')


def test_an_empty_list_gets_its_first_item() -> None:
    assert put_into_array("[]", "", {"label": "ours"}, by="label") == '[\n  {\n    "label": "ours"\n  }\n]'


@pytest.mark.parametrize("text", ["", "{", '{"configurations": {}}', "[]", '{"version": 1}', "null"])
def test_what_is_no_such_file_is_refused(text: str) -> None:
    with pytest.raises(NotJson):
        put_into_array(text, "configurations", {"name": "ours"}, by="name")
