"""Unpacks the ConfigMaps that `[sync] transport = "configmap"` fills into the folders that Airflow reads.

    unpack_dags.py SOURCE TARGET             once, before a pod's other containers start
    unpack_dags.py SOURCE TARGET --follow    and again at each change, beside them

SOURCE/ROOT is where the ConfigMap `airflow-ROOT` is mounted, TARGET/ROOT the folder. A key cannot hold a `/`, so
a file below a folder has a key from which its path is read (`devenv/sync/targets/configmap.py` makes it); every other
file's key is its name. The kubelet keeps the files of one version in a folder of their own and points the link
`..data` at it, so a version is always read whole. Each file is written under a temporary name and renamed; what is no
longer there is removed last. Nothing else may write to TARGET.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

_KINDS = {".devenv": "file", ".devenv-x": "executable", ".devenv-d": "folder"}
_POLL_SECONDS = 0.2
"""The standard library has no file events; reading one link five times a second costs next to nothing."""


def main(source: Path, target: Path, *, follow: bool) -> None:
    """Brings all folders in step, and keeps them so."""
    done: dict[str, str] = {}
    while True:
        behind = False
        for mount in sorted(source.iterdir()):
            version = _version(mount)
            if version is None or done.get(mount.name) == version:
                continue
            try:
                count = unpack(mount / version, target / mount.name)
                done[mount.name] = version
                print(f"{mount.name}: {count} files of version {version}", flush=True)
            except OSError as error:
                behind = True
                if _version(mount) != version:
                    continue  # the kubelet removed it while it was read: the next one is there
                if not follow:
                    raise
                print(f"{mount.name}: {error}; trying again", file=sys.stderr, flush=True)
        if not follow and not behind:
            return
        time.sleep(_POLL_SECONDS)


def unpack(version: Path, folder: Path) -> int:
    """Makes a folder hold what one version of a ConfigMap does; gives back the number of files.

    Raises:
        OSError: the version is gone, or the folder cannot be written. Every file in it is whole all the same.
    """
    files: dict[str, tuple[bytes, bool]] = {}
    folders = set()
    for key in sorted(item.name for item in version.iterdir()):
        found = place_of(key)
        if found is None:
            print(f"{key} is no key of devenv's", file=sys.stderr, flush=True)
            continue
        path, kind = found
        if kind == "folder":
            folders.add(path)
        else:
            files[path] = ((version / key).read_bytes(), kind == "executable")
        folders.update(str(above) for above in Path(path).parents if above.name)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folders):
        place = folder / path
        if place.is_file():
            place.unlink()
        place.mkdir(exist_ok=True)
    # Helper modules first, so that no DAG file is there before what it imports.
    for path, (content, executable) in sorted(files.items(), key=lambda item: (_like_a_dag(item[1][0]), item[0])):
        _write(folder / path, content, 0o755 if executable else 0o644)
    for place in sorted(folder.rglob("*"), reverse=True):
        path = place.relative_to(folder).as_posix()
        if place.is_dir():
            if path not in folders:
                place.rmdir()
        elif path not in files:
            place.unlink()
    return len(files)


def place_of(key: str) -> tuple[str, str] | None:
    """A key's path and kind (`file`, `executable`, `folder`), or None for one that leads nowhere."""
    for suffix, kind in _KINDS.items():
        if key.endswith(suffix):
            coded = key[: -len(suffix)].encode()
            path = os.fsdecode(re.sub(rb"-([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), coded))
            if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
                return None
            return path, kind
    return key, "file"


def _write(place: Path, content: bytes, mode: int) -> None:
    if place.is_dir():
        shutil.rmtree(str(place))
    elif place.is_file() and place.read_bytes() == content:
        place.chmod(mode)
        return
    temporary = place.parent / ".devenv-unpacking.tmp"
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(place)


def _like_a_dag(content: bytes) -> bool:
    lower = content.lower()
    return b"dag" in lower and b"airflow" in lower


def _version(mount: Path) -> str | None:
    try:
        return os.readlink(str(mount / "..data"))
    except OSError:
        return None  # no ConfigMap yet


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), follow="--follow" in sys.argv[3:])
