"""The plain data that flows through the sync loop, and the seams around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from devenv.errors import RefusedError
from devenv.verdict import Verdict


@dataclass(frozen=True)
class Root:
    """A synced folder: its name in the target (`dags`, `plugins`, `include`) and its place on the laptop."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Entry:
    """One file or folder, as a scan found it or as a target holds it.

    Attributes:
        path: POSIX, relative, the root's name first: `dags/team/etl.py`.
        kind: only these two exist in a target.
        digest: SHA-256 of the content in hexadecimal; "" for a folder.
        size: bytes; 0 for a folder.
        executable: the only part of the mode that is carried.
    """

    path: str
    kind: Literal["file", "folder"] = "file"
    digest: str = ""
    size: int = 0
    executable: bool = False


Manifest = Mapping[str, Entry]
"""What a target holds, or a folder contains: path → entry."""


@dataclass(frozen=True)
class Put:
    """A file to write: temporary name, digest checked, then renamed over the old one."""

    entry: Entry
    read: Callable[[], bytes] = field(compare=False, repr=False)
    """Reads the content when it is sent; its digest may by then differ, which the target refuses as `changed`."""


@dataclass(frozen=True)
class Batch:
    """The changes that bring a target in step, in the order in which they must be applied.

    Folders, then helper modules, then DAG files, then deletes; a rename is a put and a delete.
    """

    folders: tuple[Entry, ...] = ()
    puts: tuple[Put, ...] = ()
    modes: tuple[Entry, ...] = ()
    """Files whose content is right and whose executable bit is not."""
    deletes: tuple[str, ...] = ()
    """Paths, the deepest first."""

    def __bool__(self) -> bool:
        """True when there is anything to do."""
        return bool(self.folders or self.puts or self.modes or self.deletes)


@dataclass(frozen=True)
class Ack:
    """The target's answer for one path of a batch."""

    path: str
    ok: bool
    error: str = ""
    """Why not, for a person: "no space left on the node's disk"."""
    reason: Literal["", "changed", "space", "permission", "unsafe", "unsupported", "failed"] = ""


@dataclass(frozen=True)
class Capabilities:
    """What a target cannot do; a batch that asks for it is refused before anything is sent."""

    verdicts: bool = False
    """The target parses what it writes and answers with verdicts."""
    scheduler: bool = False
    """The target can say what the scheduler knows (`Target.scheduler`)."""
    case_sensitive: bool = True
    """`A.py` and `a.py` are two files."""
    note: str = ""
    """What a person should know of this transport, said once."""
    max_total_bytes: int | None = None
    max_object_bytes: int | None = None
    """The content and what the entries take besides (`overhead`), together."""
    overhead: Callable[[Entry], int] | None = None
    unfit: Callable[[Entry], bool] | None = None
    """Whether an entry cannot be held for a reason of this target's own, which `unfit_reason` gives."""
    unfit_reason: str = ""


@dataclass(frozen=True)
class SchedulerReport:
    """What the scheduler itself knows, read from Airflow's metadata database by the agent.

    Attributes:
        errors: path → verdict, for every import error there is now, also of files that devenv did not send.
        parsed: path → `last_parsed_time` of the file's DAGs, seconds since the epoch on the target's clock.
        at: when this was read, on the same clock.
    """

    errors: Mapping[str, Verdict] = field(default_factory=dict)
    parsed: Mapping[str, float] = field(default_factory=dict)
    at: float = 0.0


class Listener(Protocol):
    """What a target tells unasked; called from the target's own thread, must only enqueue."""

    def verdict(self, verdict: Verdict) -> None:
        """A DAG file was parsed."""

    def lost(self, reason: str) -> None:
        """The session broke; the loop closes the target and opens another."""


class Target(Protocol):
    """Where the bytes go. Used by one thread, the sync loop's."""

    name: str
    capabilities: Capabilities

    def manifest(self) -> Manifest:
        """What the target holds that devenv put there, read anew.

        Raises:
            TargetLost: the session broke.
        """

    def apply(self, batch: Batch) -> Sequence[Ack]:
        """Applies a batch and waits for the answers, one per path of the batch.

        Raises:
            TargetLost: the session broke; what was applied is unknown, so the loop compares again.
        """

    def clock(self) -> float:
        """Seconds since the epoch on the target's clock."""

    def scheduler(self) -> SchedulerReport:
        """What the scheduler knows now; only where `capabilities.scheduler` is set.

        Raises:
            TargetLost: the session broke.
        """

    def touch(self, paths: Sequence[str]) -> None:
        """Sets the files' mtime to the target's now, so that the scheduler parses them again."""

    def parse(self, paths: Sequence[str], *, wait: bool = True) -> None:
        """Parses these files again, or all where none is named; verdicts come to the listener.

        Only where `capabilities.verdicts` is set; elsewhere nothing happens.

        Args:
            paths: of DAG files.
            wait: return when the last verdict was sent.

        Raises:
            TargetLost: the session broke.
        """

    def close(self) -> None:
        """Ends the session; never raises."""


class JobIsWriting(RefusedError):
    """The `sync-dags` Job is writing to the DAG volume just now; the agent and the Job refuse each other.

    A watch that is up waits for it by itself.
    """

    code = "DEVENV-502"


class TargetLost(Exception):
    """The session to the target broke; the text says how. The loop opens another and compares again."""


@dataclass(frozen=True)
class Hint:
    """A watcher's word: these paths may differ, or (None) look at everything again."""

    paths: frozenset[Path] | None
    at: float
    """When the first of them was noticed, on the monotonic clock."""


class Watcher(Protocol):
    """Yields hints. Real ones: native events, polling. Tests script one."""

    name: str

    def hints(self, timeout: float) -> Iterator[Hint]:
        """The hints that arrive within `timeout` seconds; ends early after the first burst is coalesced."""

    def close(self) -> None:
        """Ends the watch; never raises."""
