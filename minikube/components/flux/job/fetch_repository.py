"""Fetches the repository that Flux serves and unpacks it: only plain files and folders, only inside one folder."""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
import urllib.request
from pathlib import Path

_LIMIT = 512 * 1024 * 1024


def main() -> None:
    """`fetch_repository.py FOLDER`, the archive's URL in `ARTIFACT_URL`."""
    url, folder = os.environ["ARTIFACT_URL"], Path(sys.argv[1]).resolve()
    with urllib.request.urlopen(url, timeout=60) as answer:
        packed = answer.read(_LIMIT + 1)
    if len(packed) > _LIMIT:
        sys.exit(f"{url} is larger than {_LIMIT} bytes")
    count = 0
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        for member in archive:
            place = (folder / member.name).resolve()
            if folder not in place.parents:
                continue
            content = archive.extractfile(member) if member.isfile() else None
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif content is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())
                place.chmod(0o755 if member.mode & stat.S_IXUSR else 0o644)
                count += 1
    print(f"fetched {count} files from {url}")


if __name__ == "__main__":
    main()
