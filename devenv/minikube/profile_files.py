"""minikube's own files about a profile, which a power loss or another minikube leaves damaged or missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from devenv.minikube.errors import ProfileDamaged


def minikube_home(variables: Mapping[str, str], home: Path) -> Path:
    """Where minikube keeps its profiles: `MINIKUBE_HOME`, to which it adds `.minikube`, or `~/.minikube`."""
    named = variables.get("MINIKUBE_HOME", "")
    folder = Path(named) if named else home
    return folder if folder.name == ".minikube" else folder / ".minikube"


def require_whole(profile: str, variables: Mapping[str, str], home: Path, *, has_node: Callable[[], bool]) -> None:
    """Refuses to go on with a profile that minikube could not read, and would make anew.

    Args:
        profile: its name.
        variables: with `MINIKUBE_HOME`.
        home: the user's home folder.
        has_node: whether Docker has a container of that name; called only where a file is amiss.

    Raises:
        ProfileDamaged: a file is not whole, or is missing while the node exists.
    """
    folder = minikube_home(variables, home)
    files = (folder / "profiles" / profile / "config.json", folder / "machines" / profile / "config.json")
    amiss = next(((file, what) for file in files if (what := _amiss(file))), None)
    if amiss is None or (amiss[1] == "missing" and not has_node()):
        return  # whole, or not made yet
    if not files[0].parent.exists():
        raise ProfileDamaged(
            f"Docker has a container {profile}, but {folder} has no profile of that name: another MINIKUBE_HOME, or "
            "another user, made it",
            hint="set MINIKUBE_HOME as it was then; or devenv up --profile NAME, for a minikube of this project's own",
        )
    kept = "; its node and the data in it are there" if has_node() else ""
    raise ProfileDamaged(
        f"minikube's file {amiss[0]} is {amiss[1]}{kept}",
        hint="restore that file; or `devenv destroy` and `devenv up`, which deletes the data",
    )


def _amiss(file: Path) -> str:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError):
        return "damaged"
    return "" if isinstance(content, dict) else "damaged"
