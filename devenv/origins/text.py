"""Reads the files of a repository that may come from anywhere: within bounds, and never with an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devenv.files import read_regular

_LIMIT = 262_144
_NODES_LIMIT = 50_000
_DEPTH_LIMIT = 50
_MERGE = "tag:yaml.org,2002:merge"
_NULL = "tag:yaml.org,2002:null"


def read_text(path: Path, limit: int = _LIMIT) -> str:
    """The file's text; "" where it is no regular file, is larger than `limit` bytes, or cannot be read."""
    try:
        return (read_regular(path, limit) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


def read_yaml(path: Path) -> Any:
    """The file as mappings, lists and text, every scalar as it is written (`2.10`, `yes`); None where it is no YAML.

    Anchors and merge keys are followed, since compose files live on them, but only so far: a few lines of them can
    stand for gigabytes.
    """
    import yaml

    text = read_text(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
        return _Plain().value(node, 0) if node is not None else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


class _Plain:
    """Turns YAML's nodes into plain values."""

    def __init__(self) -> None:
        self._left = _NODES_LIMIT

    def value(self, node: Any, depth: int) -> Any:
        import yaml

        self._left -= 1
        if self._left < 0 or depth > _DEPTH_LIMIT:
            message = "larger or deeper than what is read"
            raise ValueError(message)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, depth + 1) for one in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        return None if node.tag == _NULL else str(node.value)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, below in node.value:
            value = self.value(below, depth + 1)
            if key.tag == _MERGE:
                for one in value if isinstance(value, list) else [value]:
                    merged = {**one, **merged} if isinstance(one, dict) else merged
            else:
                own[str(key.value)] = value
        return {**merged, **own}
