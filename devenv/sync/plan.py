"""From what is there and what should be there to the batches that make it so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from devenv.errors import UsageError
from devenv.sync.model import Batch, Capabilities, Entry, Manifest, Put

_SHOWN = 5


@dataclass(frozen=True)
class Change:
    """One difference, as a person sees it; a rename is one."""

    path: str
    change: Literal["added", "changed", "renamed", "deleted", "mode"]
    size: int
    previous: str = ""


def plan(
    local: Manifest,
    remote: Manifest,
    *,
    read: Callable[[Entry], bytes],
    is_dag_file: Callable[[str], bool],
    case_sensitive: bool = True,
) -> tuple[Batch, ...]:
    """The batches that turn `remote` into `local`, to be applied one after the other; none when they agree.

    It is one batch, unless something must be gone before its place can be taken: a file that becomes a folder or a
    folder that becomes a file, and, where the target does not tell `A.py` from `a.py`, a change of case. Those deletes
    are a batch that goes first.
    """
    gone = {path for path in remote if path not in local}
    blocking = _blocking(local, remote, gone)
    if not case_sensitive:
        taken = {path.lower() for path in local if path not in remote}
        blocking |= {path for path in gone if path.lower() in taken}
    folders = [entry for path, entry in local.items() if entry.kind == "folder" and not _is(remote.get(path), "folder")]
    puts: list[Entry] = []
    modes: list[Entry] = []
    for path, entry in local.items():
        if entry.kind == "folder":
            continue
        there = remote.get(path)
        if there is None or there.kind != "file" or there.digest != entry.digest:
            puts.append(entry)
        elif there.executable != entry.executable:
            modes.append(entry)
    puts.sort(key=lambda entry: (is_dag_file(entry.path), entry.path))
    clearing = Batch(deletes=_deepest_first(blocking))
    rest = Batch(
        folders=tuple(sorted(folders, key=lambda entry: entry.path)),
        puts=tuple(Put(entry, _reader(read, entry)) for entry in puts),
        modes=tuple(sorted(modes, key=lambda entry: entry.path)),
        deletes=_deepest_first(gone - blocking),
    )
    return tuple(batch for batch in (clearing, rest) if batch)


def changes(local: Manifest, remote: Manifest) -> list[Change]:
    """The differences between files, a file that only moved being one rename; in the order of paths."""
    by_content: dict[str, list[str]] = {}
    for path, entry in remote.items():
        if entry.kind == "file" and path not in local and entry.size:
            by_content.setdefault(entry.digest, []).append(path)
    found: list[Change] = []
    moved: set[str] = set()
    for path in sorted(local):
        entry, there = local[path], remote.get(path)
        if entry.kind != "file":
            continue
        if there is None or there.kind != "file":
            if sources := by_content.get(entry.digest):
                source = _nearest(path, sources)
                sources.remove(source)
                moved.add(source)
                found.append(Change(path, "renamed", entry.size, source))
            else:
                found.append(Change(path, "added", entry.size))
        elif there.digest != entry.digest:
            found.append(Change(path, "changed", entry.size))
        elif there.executable != entry.executable:
            found.append(Change(path, "mode", entry.size))
    found += [
        Change(path, "deleted", remote[path].size)
        for path in sorted(remote)
        if remote[path].kind == "file" and not _is(local.get(path), "file") and path not in moved
    ]
    return found


class TargetCannot(UsageError):
    """The DAG folder holds something that the chosen transport cannot carry; nothing was sent.

    A ConfigMap, for instance, holds at most 1 MiB in all, and no path that is too long for a key. Remove or ignore
    (`[sync] ignore`) what the message names, or choose another `[sync] transport`.
    """

    code = "DEVENV-520"


def refuse_impossible(local: Manifest, capabilities: Capabilities, target: str) -> None:
    """Checks what is to be there against what the target can hold, before anything is sent.

    Raises:
        TargetCannot: with the paths that do not fit and how far they are off.
    """
    files = [entry for entry in local.values() if entry.kind == "file"]
    objections: list[str] = []
    unfit = capabilities.unfit
    if unfit is not None and (paths := sorted(entry.path for entry in local.values() if unfit(entry))):
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        objections.append(f"{capabilities.unfit_reason}: {', '.join(paths[:_SHOWN])}{more}")
    if capabilities.max_total_bytes is not None:
        limit, total = capabilities.max_total_bytes, sum(entry.size for entry in files)
        if total > limit:
            heaviest = sorted(files, key=lambda entry: -entry.size)[:_SHOWN]
            weights = ", ".join(f"{entry.path} ({size_text(entry.size)})" for entry in heaviest)
            objections.append(
                f"at most {size_text(limit)} in all: it is {size_text(total)}, {size_text(total - limit)} too much. "
                f"The heaviest: {weights}"
            )
    if capabilities.max_object_bytes is not None and capabilities.overhead is not None:
        limit, names = capabilities.max_object_bytes, sum(map(capabilities.overhead, files))
        total = names + sum(entry.size for entry in files)
        if total > limit:
            objections.append(
                f"too many files: the names of {len(files)} take {size_text(names)}, with their content "
                f"{size_text(total)}, {size_text(total - limit)} too much"
            )
    if objections:
        raise TargetCannot(
            f"{target} cannot hold this folder:\n" + "\n".join(f"- {line}" for line in objections),
            hint='leave the files out with `[sync] ignore`, or set `[sync] transport = "agent"`',
        )


def size_text(size: float) -> str:
    """A number of bytes for a person: `20 kB`, `1.00 MiB` where it is a limit of Kubernetes."""
    if size >= 1 << 20:
        return f"{size / (1 << 20):.2f} MiB"
    return f"{size / 1024:.1f} KiB" if size >= 1024 else f"{size:.0f} bytes"


def _reader(read: Callable[[Entry], bytes], entry: Entry) -> Callable[[], bytes]:
    return lambda: read(entry)


def _is(entry: Entry | None, kind: str) -> bool:
    return entry is not None and entry.kind == kind


def _blocking(local: Manifest, remote: Manifest, gone: set[str]) -> set[str]:
    """What must be deleted before something of another kind can take its place."""
    blocking: set[str] = set()
    for path, entry in remote.items():
        here = local.get(path)
        if here is not None and here.kind != entry.kind:
            blocking.add(path)
            if entry.kind == "folder":
                blocking |= {other for other in gone if other.startswith(f"{path}/")}
    return blocking


def _deepest_first(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(paths, key=lambda path: (-path.count("/"), path)))


def _nearest(path: str, sources: list[str]) -> str:
    """Of several files with the same content, the one that most likely moved: same name, else same folder."""
    name, folder = path.rpartition("/")[2], path.rpartition("/")[0]
    return min(sources, key=lambda s: (s.rpartition("/")[2] != name, s.rpartition("/")[0] != folder, s))
