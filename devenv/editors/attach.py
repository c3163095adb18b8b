"""What an editor needs to attach: where, and how its files are called there; for each editor, in its own form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from devenv.editors.jsonc import NotJson, put_into_array
from devenv.errors import UsageError
from devenv.files import write_whole

NAME = "devenv debug"
HOST = "127.0.0.1"

Editor = Literal["vscode", "pycharm", "zed", "nvim"]


class LaunchFileUnreadable(UsageError):
    """The editor's file of launch configurations is not one that devenv can add to; nothing was changed.

    The configuration is shown, to be put in by hand.
    """

    code = "DEVENV-744"


@dataclass(frozen=True)
class Attachment:
    """Where a task waits for a debugger.

    Attributes:
        port: on 127.0.0.1.
        project: the folder that is open in the editor.
        mappings: a folder on this machine → the same where the task runs.
    """

    port: int
    project: Path
    mappings: Mapping[Path, str]

    def local(self, folder: Path, opened: str) -> str:
        """A folder on this machine; below the open one, from the editor's own variable for that."""
        try:
            return f"{opened}/{folder.relative_to(self.project).as_posix()}"
        except ValueError:
            return str(folder)


def prepare(editor: Editor, attachment: Attachment) -> str:
    """Makes an editor ready to attach, and returns what to press there.

    VS Code's file is read by Neovim's nvim-dap too (`dap.ext.vscode`). PyCharm keeps its configurations in a form that
    is not documented, so they are entered by hand.

    Raises:
        LaunchFileUnreadable: the editor's file is none that can be added to.
    """
    return _EDITORS[editor](attachment)


def _vscode(attachment: Attachment) -> str:
    file = _write_vscode(attachment)
    return f'VS Code: Run and Debug (Ctrl+Shift+D), choose "{NAME}", press F5; it is in {file}'


def _nvim(attachment: Attachment) -> str:
    file = _write_vscode(attachment)
    return f'Neovim: with nvim-dap and nvim-dap-python, :DapContinue and choose "{NAME}"; it is in {file}'


def _write_vscode(attachment: Attachment) -> str:
    configuration = {
        "name": NAME,
        "type": "debugpy",
        "request": "attach",
        "connect": {"host": HOST, "port": attachment.port},
        "pathMappings": _mappings(attachment, "${workspaceFolder}"),
        "justMyCode": True,
    }
    empty = {"version": "0.2.0", "configurations": []}
    return _put(attachment, ".vscode/launch.json", empty, "configurations", ("name", configuration))


def _zed(attachment: Attachment) -> str:
    configuration = {
        "label": NAME,
        "adapter": "Debugpy",
        "request": "attach",
        "tcp_connection": {"host": HOST, "port": attachment.port},
        "pathMappings": _mappings(attachment, "$ZED_WORKTREE_ROOT"),
        "justMyCode": True,
    }
    file = _put(attachment, ".zed/debug.json", [], "", ("label", configuration))
    return f'Zed: F4 (debugger: start), choose "{NAME}"; it is in {file}'


def _pycharm(attachment: Attachment) -> str:
    mappings = ", ".join(f"{folder} = {there}" for folder, there in attachment.mappings.items())
    return (
        "PyCharm (2025.3 or newer): Run | Edit Configurations | Attach to DAP; "
        f"remote address {HOST}:{attachment.port}; path mappings {mappings}"
    )


_EDITORS: dict[Editor, Callable[[Attachment], str]] = {
    "vscode": _vscode,
    "pycharm": _pycharm,
    "zed": _zed,
    "nvim": _nvim,
}


def _mappings(attachment: Attachment, opened: str) -> list[dict[str, str]]:
    return [
        {"localRoot": attachment.local(folder, opened), "remoteRoot": there}
        for folder, there in attachment.mappings.items()
    ]


def _put(attachment: Attachment, name: str, empty: object, key: str, named: tuple[str, dict[str, Any]]) -> str:
    """Writes a configuration into the editor's file, in place of the one of that name; what else is there stays."""
    by, configuration = named
    file = attachment.project / name
    before = json.dumps(empty, indent=2) + "\n"
    try:
        if file.exists():
            before = file.read_text(encoding="utf-8")
        after = put_into_array(before, key, configuration, by=by)
    except (NotJson, OSError, ValueError) as error:
        raise LaunchFileUnreadable(
            f"{name} cannot be added to: {error}",
            hint="put the configuration above into it by hand",
            detail=json.dumps(configuration, indent=2),
        ) from error
    if after != before or not file.exists():
        file.parent.mkdir(exist_ok=True)
        write_whole(file.resolve(), after, mode=0o644)
    return name
