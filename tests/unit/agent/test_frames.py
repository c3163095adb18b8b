from __future__ import annotations

import json
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devenv.agent import frames
from devenv.agent.frames import Decoder, Frame, FrameError, encode, encode_items, safe_parts
from devenv.agent.session import serve

names = st.text(st.characters(codec="utf-8"), max_size=20)
fields = st.dictionaries(
    names.filter(lambda name: name not in ("type", "kind", "payload")), st.integers() | names, max_size=4
)


@given(
    st.lists(st.tuples(names, fields, st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 50), max_size=40),
)
def test_frames_arrive_whole_however_the_stream_is_cut(sent: list[tuple[str, dict, bytes]], cuts: list[int]) -> None:
    stream = b"noise" + frames.PREAMBLE + b"".join(encode(kind, payload, **more) for kind, more, payload in sent)
    decoder = Decoder(preamble=True)
    got: list[Frame] = []
    for cut in cuts:
        piece, stream = stream[:cut], stream[cut:]
        got += decoder.feed(piece)
    got += decoder.feed(stream)
    assert [(frame.type, frame.fields, frame.payload) for frame in got] == sent


@given(st.binary(max_size=2000))
def test_nonsense_is_refused_or_waited_for(noise: bytes) -> None:
    decoder = Decoder()
    try:
        for frame in decoder.feed(noise):
            assert isinstance(frame.fields, dict)
    except FrameError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", frames.HEADER_LIMIT + 1, 0),
        struct.pack(">II", 2, frames.PAYLOAD_LIMIT + 1),
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 2, 0) + b"{}",
        struct.pack(">II", 1, 0) + b"\xff",
        struct.pack(">II", 60_000, 0) + b"[" * 60_000,
    ],
)
def test_beyond_the_limits_or_no_header(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(Decoder().feed(data))


def test_another_program_that_answers_is_noticed() -> None:
    with pytest.raises(FrameError, match="not the agent"):
        list(Decoder(preamble=True).feed(b"x" * (frames.PREAMBLE_WITHIN + 1)))


def test_a_long_list_is_several_frames() -> None:
    items = [["p" * 4000, index] for index in range(2_500)]
    found = [one for data in encode_items("entries", items) for frame in Decoder().feed(data) for one in frame.json()]
    assert found == items


@pytest.mark.parametrize(
    "path", ["", "/dags/a", "dags/../a", "dags//a", "dags/./a", "dags/a\0", "dags/" + "a" * 256, None, 5]
)
def test_unsafe_paths(path: object) -> None:
    assert safe_parts(path) == ()


def conversation(data: bytes) -> list[Frame]:
    """What a session answers to these bytes, until it ends by itself."""
    (source, feed), (answers, target) = os.pipe(), os.pipe()
    session = threading.Thread(target=serve, args=(source, target))
    session.start()
    try:
        os.write(feed, data)
        os.close(feed)
        session.join(20)
        assert not session.is_alive()
        os.close(target)
        decoder = Decoder(preamble=True)
        found: list[Frame] = []
        while chunk := os.read(answers, 65_536):
            found += decoder.feed(chunk)
        return found
    finally:
        os.close(source)
        os.close(answers)


def hello(folder: Path) -> bytes:
    return encode(
        "hello",
        protocol=frames.PROTOCOL,
        owner={"environment": "e"},
        roots=["dags"],
        options={"claim": str(folder), "verdicts": False},
    )


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=500)
    | st.builds(
        lambda kind, more, payload: encode(kind, payload, **more),
        st.sampled_from(
            ["put", "chunk", "delete", "manifest", "end", "touch", "mode", "folder", "parse", "close", "handle"]
        ),
        st.dictionaries(
            st.sampled_from(["path", "digest", "last", "id", "executable"]),
            st.none() | st.booleans() | names,
            max_size=5,
        ),
        st.binary(max_size=50),
    )
)
def test_a_session_survives_no_nonsense_and_hangs_on_none(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("claim")
    answers = conversation(hello(folder) + data)
    assert answers[0].type == "welcome"
    assert not [path for path in (folder / "dags").rglob("*") if path.name.endswith(".tmp")]


def test_what_is_no_hello_is_refused() -> None:
    assert [frame.type for frame in conversation(encode("manifest", id=1))] == ["refused"]
    assert [frame.type for frame in conversation(encode("hello", json.dumps({}).encode()))] == ["refused"]
