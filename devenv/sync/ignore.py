"""What is not sent: caches, editors' temporary files, version control, and what the settings say."""

from __future__ import annotations

import re
from collections.abc import Iterable

BUILT_IN: tuple[str, ...] = (
    # Python's and the tools' caches
    "__pycache__/",
    "*.py[cod]",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".ipynb_checkpoints/",
    ".venv/",
    "node_modules/",
    # Version control
    ".git",
    ".hg/",
    ".svn/",
    # Vim: swap files, the probe 4913, backups
    ".*.sw?",
    ".sw?",
    "4913",
    "*~",
    # Emacs: lock links, auto-save files
    ".#*",
    r"\#*#",
    # JetBrains
    "*___jb_tmp___",
    "*___jb_old___",
    "*___jb_bak___",
    ".idea/",
    # Visual Studio Code, Kate, gedit, nano, LibreOffice
    ".vscode/",
    "*.kate-swp",
    ".goutputstream-*",
    ".*.swx",
    ".~lock.*",
    # Desktops and network file systems
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "desktop.ini",
    ".nfs*",
    ".Trash-*/",
    # devenv's own: what a target writes before it renames
    ".devenv*",
)
"""Patterns in the manner of .gitignore. `.airflowignore` is not among them: Airflow needs it."""


class Ignore:
    """Decides which paths are left out.

    Args:
        patterns: further patterns in the manner of .gitignore; "!pattern" takes an earlier one back. They are matched
            against the path as a target has it, the root's name first: `dags/team/scratch/`.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        import pathspec

        self._spec = pathspec.GitIgnoreSpec.from_lines([*BUILT_IN, *patterns])
        # Most paths match no pattern at all, which one expression says in a tenth of the time.
        expressions = [pattern.regex.pattern for pattern in self._spec.patterns if pattern.regex is not None]
        unnamed = [re.sub(r"\(\?P<\w+>", "(?:", expression) for expression in expressions]
        self._any = re.compile("|".join(f"(?:{expression})" for expression in unnamed))

    def __call__(self, path: str, *, is_folder: bool) -> bool:
        """Whether `path` (POSIX, the root's name first) is left out; a folder with everything in it."""
        whole = f"{path}/" if is_folder else path
        return self._any.search(whole) is not None and self._spec.match_file(whole)

    def any_part(self, path: str, *, is_folder: bool) -> bool:
        """Whether `path` or a folder on the way to it is left out; for paths that did not come from a scan."""
        parts = path.split("/")
        folders = ("/".join(parts[:count]) for count in range(2, len(parts)))
        return any(self(folder, is_folder=True) for folder in folders) or self(path, is_folder=is_folder)
