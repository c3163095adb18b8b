"""minikube's files about a profile: whole, damaged, missing, of another minikube."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.minikube.errors import ProfileDamaged
from devenv.minikube.profile_files import minikube_home, require_whole


def written(home: Path, profile: bytes | None = b"{}", machine: bytes | None = b"{}") -> Path:
    for kind, content in (("profiles", profile), ("machines", machine)):
        folder = home / ".minikube" / kind / "devenv"
        folder.mkdir(parents=True, exist_ok=True)
        if content is not None:
            (folder / "config.json").write_bytes(content)
    return home


def test_whole_files_and_a_profile_that_was_never_made_pass(tmp_path: Path) -> None:
    require_whole("devenv", {}, tmp_path, has_node=lambda: False)
    require_whole("devenv", {}, written(tmp_path), has_node=lambda: pytest.fail("there is no need to ask Docker"))


@pytest.mark.parametrize(
    ("profile", "machine", "words"),
    [
        (b"", b"{}", "profiles/devenv/config.json is damaged"),
        (b'{"Name": "dev', b"{}", "profiles/devenv/config.json is damaged"),
        (b"\xff\xfe", b"{}", "profiles/devenv/config.json is damaged"),
        (b"[]", b"{}", "profiles/devenv/config.json is damaged"),
        (None, b"{}", "profiles/devenv/config.json is missing"),
        (b"{}", b'{"a":', "machines/devenv/config.json is damaged"),
    ],
)
def test_a_file_that_is_not_whole_is_named(
    tmp_path: Path, profile: bytes | None, machine: bytes | None, words: str
) -> None:
    with pytest.raises(ProfileDamaged, match=words) as caught:
        require_whole("devenv", {}, written(tmp_path, profile, machine), has_node=lambda: True)
    assert "the data in it are there" in caught.value.message


def test_a_node_of_another_minikube_home_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(ProfileDamaged, match="another MINIKUBE_HOME"):
        require_whole("devenv", {"MINIKUBE_HOME": str(tmp_path / "m")}, tmp_path, has_node=lambda: True)


def test_minikube_home_as_minikube_reads_it() -> None:
    home = Path("/home/me")
    assert minikube_home({}, home) == Path("/home/me/.minikube")
    assert minikube_home({"MINIKUBE_HOME": "/data"}, home) == Path("/data/.minikube")
    assert minikube_home({"MINIKUBE_HOME": "/data/.minikube"}, home) == Path("/data/.minikube")
