"""Fetches what Flux made of the repository and unpacks it: only plain files and folders, only inside one folder.

Flux names each version's archive and its digest in the status of the GitRepository; there is no address that stays
(https://fluxcd.io/flux/components/source/gitrepositories/#artifact).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import ssl
import stat
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LIMIT = 512 * 1024 * 1024


def main() -> None:
    """`fetch_repository.py REPOSITORY FOLDER`: the GitRepository's name, in this pod's namespace."""
    folder = Path(sys.argv[2]).resolve()
    url, digest = artifact(sys.argv[1])
    with urllib.request.urlopen(url, timeout=60) as answer:
        packed = answer.read(_LIMIT + 1)
    if len(packed) > _LIMIT:
        sys.exit(f"{url} is larger than {_LIMIT} bytes")
    if digest != f"sha256:{hashlib.sha256(packed).hexdigest()}":
        sys.exit(f"{url} is not what Flux says it is ({digest})")
    print(f"fetched {unpack(packed, folder)} files from {url}")


def artifact(repository: str) -> tuple[str, str]:
    """The address of the newest version and its digest, as Flux' source-controller says."""
    namespace = (_ACCOUNT / "namespace").read_text().strip()
    path = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/gitrepositories/{repository}"
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    token = (_ACCOUNT / "token").read_text().strip()
    request = urllib.request.Request(server + path, headers={"Authorization": f"Bearer {token}"})
    trusted = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
            found = json.load(answer).get("status", {}).get("artifact") or {}
    except urllib.error.HTTPError as error:
        sys.exit(f"the GitRepository {repository} in {namespace} cannot be read: {error}")
    if not found:
        sys.exit(f"Flux has not fetched the GitRepository {repository} yet: kubectl -n {namespace} get gitrepositories")
    return found["url"], found["digest"]


def unpack(packed: bytes, folder: Path) -> int:
    """Writes the files of an archive below a folder; gives back how many."""
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
    return count


if __name__ == "__main__":
    main()
