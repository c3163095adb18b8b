"""Secrets of a whole environment, looked for in all that laptop and node hold, the layers of the built image included.

What `devenv secrets` itself does is in test_secrets.py; here they come from a file, and one `devenv up` brings them.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from tests.support.deployed import Deployed
from tests.support.program import Program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

# One file system each: the file systems of containers, which overlay these, are not read a second time.
SEARCH = """
umask 077; cat > /dev/shm/patterns
find /var/lib/containerd /var/log /tmp /data /etc /run /home /root -xdev -type f -not -path '*/io.containerd.content*' \
  -print0 2>/dev/null | xargs -0 -r grep -laF -f /dev/shm/patterns
grep -rlaF -f /dev/shm/patterns /var/lib/kubelet
rm /dev/shm/patterns
"""
ALLOWED = ("/volumes/kubernetes.io~empty-dir/etc-airflow/", "/volumes/kubernetes.io~secret/seed/")
"""Below a pod's folder: its memory volume, and the seeder's Secret."""
DEFECT = """
import sys
from devenv.vault import seeds
found = seeds.all_secrets
def fails(*arguments):
    values = found(*arguments)
    return values["of a defect"]
seeds.all_secrets = fails
from devenv.__main__ import main
sys.exit(main())
"""


def forms(value: str) -> list[bytes]:
    """A value as it is, and in base64 at each of the three alignments (the ends, which depend on neighbours, cut)."""
    raw = value.encode()
    return [raw, *(base64.b64encode(b"x" * lead + raw)[4:-4] for lead in range(3))]


def layers(image: str) -> Iterable[bytes]:
    """An image as Docker's engine would send it, in pieces that overlap; compressed layers unpacked."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
            for member in archive:
                stream = archive.extractfile(member)
                unpack, before = None, b""
                while stream is not None and (piece := stream.read(4_000_000)):
                    if not before and piece[:2] == b"\x1f\x8b":
                        unpack = zlib.decompressobj(31)
                    piece = unpack.decompress(piece) if unpack is not None else piece
                    yield before + piece
                    before = piece[-200:] or before
    assert child.returncode == 0


def test_secrets_are_found_nowhere_else(main_job: Program, deployed: Deployed, canary: dict[str, str]) -> None:
    hidden = [form for value in canary.values() for form in forms(value)]

    def held(content: bytes) -> bool:
        return any(form in content for form in hidden)

    with (main_job.folder / "devenv.toml").open("a") as settings:
        settings.write("\n[sync]\nfolders = []\n")
    (main_job.folder / "plugins").mkdir(exist_ok=True)  # which devenv builds an image for, where they are not synced
    (main_job.folder / "plugins" / "shop_hook.py").write_text("NAME = 'shop'\n")
    printed = [main_job.run("up", "--detach", "-o", "json", seconds=900)]
    printed.append(main_job.run("sync", "-o", "json"))
    main_job.run("run", "secrets_example", "--wait", seconds=420)
    for arguments in (("status",), ("secrets", "list"), ("secrets", "export"), ("secrets", "get", "slack/webhook")):
        printed += [main_job.run(*arguments), main_job.run(*arguments, "-o", "json")]
    printed += [main_job.run("secrets", "seed"), main_job.run("logs", "--lines", "0")]
    crashing = Program((sys.executable, "-c", DEFECT), main_job.folder, main_job.variables)
    printed.append(crashing.run("secrets", "seed", code=70))
    crashes = list(Path(main_job.variables["DEVENV_CACHE"], "crashes").iterdir())
    assert crashes
    assert not held("\n".join(printed).encode())

    processes = list(psutil.process_iter(["cmdline", "environ"]))  # the node's are the laptop's, too
    assert any("airflow scheduler" in " ".join(process.info["cmdline"] or ()) for process in processes)
    known = [[*(process.info["cmdline"] or ()), *(process.info["environ"] or {}).values()] for process in processes]
    assert not [texts for texts in known if held("\n".join(texts).encode())]

    data = Path(main_job.variables["DEVENV_DATA"])
    minikube = Path(os.environ.get("MINIKUBE_HOME", Path.home() / ".minikube")) / "profiles"
    files = [path for folder in (main_job.folder, data, minikube) for path in folder.rglob("*") if path.is_file()]
    assert {path for path in files if held(path.read_bytes())} == {data / "own-seeds.toml"}

    search = ["docker", "exec", "-i", deployed.context, "sh", "-c", SEARCH]
    done = subprocess.run(search, input=b"\n".join(hidden) + b"\n", capture_output=True, check=False)
    in_node = done.stdout.decode().splitlines()
    assert {place for place in ALLOWED for path in in_node if place in path} == set(ALLOWED), done.stderr
    assert not [path for path in in_node if not any(place in path for place in ALLOWED)]

    objects = "pods,deployments,statefulsets,jobs,configmaps,services,events,serviceaccounts"
    assert not held(deployed.kubectl("get", objects, "-o", "json").encode())
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    image = deployed.kubectl("get", "deployment", "scheduler", "-o", path)
    assert not image.startswith("apache/airflow"), image
    assert not held(subprocess.run(["docker", "history", "--no-trunc", image], capture_output=True, check=True).stdout)
    assert not any(held(piece) for piece in layers(image))
