"""A stream of images without the layers that the other side holds."""

from __future__ import annotations

import io
import tarfile

import pytest

from devenv.minikube.layers import copy_without

HELD, NEW, MANIFEST = "a" * 64, "b" * 64, "c" * 64


class Kept(io.BytesIO):
    """A sink whose content outlives its end."""

    content = b""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def saved() -> io.BytesIO:
    """What `docker save` writes since Docker 25, in small."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as images:
        for name, content in (
            (f"blobs/sha256/{HELD}", b"x" * 100_000),
            (f"blobs/sha256/{NEW}", b"y" * 100_000),
            (f"blobs/sha256/{MANIFEST}", b"{}"),
            ("index.json", b"{}"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            images.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def test_layers_that_are_held_stay_at_home_and_all_else_travels_unchanged() -> None:
    sink = Kept()
    copy_without({HELD, MANIFEST}, saved(), sink)
    with tarfile.open(fileobj=io.BytesIO(sink.content)) as came:
        contents = {member.name: came.extractfile(member).read() for member in came}  # type: ignore[union-attr]
    assert contents == {
        f"blobs/sha256/{NEW}": b"y" * 100_000,
        f"blobs/sha256/{MANIFEST}": b"{}",
        "index.json": b"{}",
    }


def test_a_stream_that_breaks_off_is_an_error() -> None:
    with pytest.raises(tarfile.TarError):
        copy_without(set(), io.BytesIO(saved().getvalue()[:150_000]), Kept())
