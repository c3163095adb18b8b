"""The ports on 127.0.0.1: those of the settings if they are free, else the next, and from then on the same."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from devenv.files import write_whole
from devenv.local.errors import PortsTaken
from devenv.ports import holder, is_free
from devenv.supervisor.component import RECORD

_FILE = "ports.json"
_TRIES = 200


@dataclass(frozen=True)
class Ports:
    """Where the components of one environment answer."""

    airflow: int
    vault: int
    postgres: int


def remembered(data: Path) -> Ports | None:
    """The ports that `choose` chose last; None before the first time."""
    try:
        return Ports(**json.loads((data / _FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def choose(data: Path, wanted: Mapping[str, int]) -> tuple[Ports, list[str]]:
    """Ports for an environment that does not run, written down for the next time.

    Args:
        data: the environment's data folder.
        wanted: from the settings: `airflow`, `vault`.

    Returns:
        The ports, and a sentence for each that is another than wanted.

    Raises:
        PortsTaken: none of the next `_TRIES` is free.
    """
    former = remembered(data)
    taken = _reserved(data)
    said: list[str] = []

    def pick(name: str, first: int) -> int:
        kept = {"airflow": former.airflow, "vault": former.vault}[name] if former is not None else 0
        # A remembered port counts only while the settings ask for the same one, or one just before it.
        candidates: list[int] = [kept] if kept and first <= kept < first + _TRIES else []
        for port in itertools.chain(candidates, range(first, min(first + _TRIES, 65_536))):
            if port not in taken and is_free(port):
                taken.add(port)
                if port not in (first, kept):
                    said.append(f"port {first} is taken{holder(first)}; {name} answers on {port}")
                return port
        raise PortsTaken(
            f"No port from {first} on is free for {name}", hint=f"set `[ports] {name}` to a free one in devenv.toml"
        )

    ports = Ports(pick("airflow", wanted["airflow"]), pick("vault", wanted["vault"]), _pick_any(former, taken))
    data.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_whole(data / _FILE, json.dumps(asdict(ports)))
    return ports, said


def _reserved(data: Path) -> set[int]:
    """The ports of other environments that run, also while one of their components is being started again."""
    reserved: set[int] = set()
    for record in data.parent.glob(f"*/{RECORD}"):
        other = remembered(record.parent)
        if record.parent != data and other is not None:
            reserved |= {other.airflow, other.vault, other.postgres}
    return reserved


def _pick_any(former: Ports | None, taken: set[int]) -> int:
    """A port for Postgres, which nobody types."""
    if former is not None and former.postgres not in taken and is_free(former.postgres):
        return former.postgres
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
