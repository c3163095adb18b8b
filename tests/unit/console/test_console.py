"""What is written where, for terminals, pipes and JSON readers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable

import pytest

from devenv.console.console import Console, NoAnswer
from devenv.console.render import Renderer
from devenv.console.tables import table
from devenv.console.words import elapsed, milliseconds, names, plural, size
from devenv.environment import Environment, Session
from devenv.errors import TimedOut
from devenv.events import (
    TYPES,
    BatchSynced,
    ConnectionChanged,
    Event,
    FileSynced,
    Notice,
    Output,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    VerdictReached,
    WatchStarted,
)
from devenv.verdict import Problem, Verdict
from tests.conftest import Screen

ESCAPE = "\x1b"
BROKEN = Verdict(
    "dags/team/shop.py",
    problems=(
        Problem(
            "syntax-error",
            "error",
            "'(' was never closed",
            "SyntaxError",
            "dags/team/shop.py",
            2,
            6,
            ("import os", "print('x'", "# end"),
            1,
            "close the bracket",
        ),
    ),
    removed=("shop", "shop_daily"),
)


def console(*, terminal: bool = False, variables: dict[str, str] | None = None, stdin: str = "", **flags) -> Console:
    environment = Environment(
        stdin=Screen(stdin, terminal=terminal),
        stdout=Screen(terminal=terminal),
        stderr=Screen(terminal=terminal),
        variables={"TERM": "xterm-256color", **(variables or {})},
        now=lambda: 1_800_000_000.0,
    )
    return Console(Session(environment, **flags))


def told(made: Console, *events: Event) -> str:
    for event in events:
        made.report(event)
    made.close()
    return made.session.environment.stderr.getvalue()  # type: ignore[attr-defined]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_phases_without_a_terminal_are_plain_lines() -> None:
    assert told(
        console(),
        StepStarted("cluster", "Start minikube"),
        StepProgress("cluster", "pulling", 0.5),
        Output("cluster", "noise"),
        StepFinished("cluster", "Start minikube", 42.1, message="1.38.1"),
        StepStarted("vault", "Start Vault"),
        StepFinished("vault", "Start Vault", 0.0, skipped=True),
    ).splitlines() == [
        "• Start minikube",
        "✓ Start minikube                   42.10s  1.38.1",
        "• Start Vault",
        "✓ Start Vault                     already so",
    ]


def test_a_running_phase_says_how_far_it_is() -> None:
    line = Renderer(100).step_running("⠋", "Load images", 12.3, "apache/airflow:2.7.2", 0.4).plain
    assert line.split() == ["⠋", "Load", "images", "12.30s", "apache/airflow:2.7.2", "40%"]


def test_a_step_that_fails_shows_the_output_that_it_hid() -> None:
    text = told(console(), StepStarted("b", "Build"), Output("b", "no such package"), StepFailed("b", "Build", 1.0))
    assert text.splitlines()[1:] == ["    no such package", "✗ Build                             1.00s"]


def test_a_save_that_breaks_a_file() -> None:
    text = told(console(), FileSynced("dags/team/shop.py", "changed", 9, 4.1), VerdictReached(BROKEN, 96.0))
    lines = [line.rstrip() for line in text.splitlines()]
    assert re.fullmatch(r" {6}broken dags/team/shop\.py +4\.1 ms  ✗ 96 ms", lines[0])
    assert lines[1:] == [
        "             SyntaxError: '(' was never closed",
        "             dags/team/shop.py:2:6",
        "               1 │ import os",
        "             ❱ 2 │ print('x'",
        "                 │      ^",
        "               3 │ # end",
        "             → close the bracket",
        "             gone with it: shop, shop_daily",
    ]


def test_quiet_leaves_what_is_broken_and_twice_quiet_nothing() -> None:
    events = (
        StepStarted("a", "A"),
        StepFinished("a", "A", 1.0),
        Notice("info", "hello"),
        BatchSynced(1, 2, 3, 4, 5.0),
        VerdictReached(BROKEN, 1.0),
        Notice("warning", "careful"),
    )
    quiet = told(console(quiet=1), *events)
    assert "broken" in quiet
    assert "careful" in quiet
    assert not any(word in quiet for word in ("hello", "✓", "synced"))
    assert told(console(quiet=2), *events) == ""


@pytest.mark.parametrize(
    ("terminal", "variables", "flags", "colored"),
    [
        (True, {}, {}, True),
        (False, {}, {}, False),
        (True, {"NO_COLOR": "1"}, {}, False),
        (True, {"NO_COLOR": ""}, {}, True),
        (True, {"TERM": "dumb"}, {}, False),
        (True, {}, {"color": False}, False),
    ],
)
def test_when_there_are_colours(terminal: bool, variables: dict[str, str], flags: dict, colored: bool) -> None:
    text = told(console(terminal=terminal, variables=variables, **flags), Notice("error", "no", "next"))
    assert (f"{ESCAPE}[1;31m" in text) is colored
    assert plain(text).split() == ["error", "no", "→", "next"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    made = console(terminal=True, variables={"COLUMNS": str(width), "LINES": "20"})
    long = "dags/" + "a_very_long_folder/" * 6 + "file.py"
    text = told(
        made,
        WatchStarted("/home/ada/dags", 300, "agent", "inotify", 1.0),
        FileSynced(long, "changed", 1, 3.0),
        VerdictReached(Verdict(long, problems=BROKEN.problems), 80.0),
        Notice("warning", "word " * 60, "hint " * 30),
        ConnectionChanged("lost", "the pod went away " * 10),
    )
    # print statements of a program may be longer; every line here is ours
    assert max(len(line) for chunk in plain(text).split("\r") for line in chunk.split("\n")) <= width
    assert "file.py" in text


def test_a_dumb_terminal_and_a_pipe_get_no_cursor_movement() -> None:
    for made in (console(terminal=True, variables={"TERM": "dumb"}), console()):
        assert ESCAPE not in told(made, StepStarted("a", "A"), WatchStarted("dags", 1, "agent", "x", 1.0))


def test_what_is_broken_now_stays_at_the_bottom_of_a_terminal() -> None:
    made = console(terminal=True, variables={"COLUMNS": "80", "LINES": "24"})
    made.report(WatchStarted("dags", 3, "agent", "inotify", 1.0))
    made.report(VerdictReached(BROKEN, 10.0))
    for number in range(30):
        made.report(Notice("info", f"note {number}"))
    last = plain(made.session.environment.stderr.getvalue()).split("note 29")[-1]  # type: ignore[attr-defined]
    made.close()
    assert "broken now: 1 file" in last
    assert "dags/team/shop.py:2  SyntaxError: '(' was never closed" in last


def test_ascii_where_the_stream_takes_no_more() -> None:
    made = console()
    made.messages = made.messages.__class__(made.session.environment.stderr, False, False, False, {})
    made.error(TimedOut("it took too long", hint="devenv doctor"))
    assert made.session.environment.stderr.getvalue().splitlines()[-1] == "> devenv doctor"  # type: ignore[attr-defined]


def test_data_goes_to_standard_output_messages_to_standard_error() -> None:
    made = console()
    made.print("data")
    made.report(Notice("info", "message"))
    made.close()
    assert made.session.environment.stdout.getvalue() == "data\n"  # type: ignore[attr-defined]


def records(made: Console) -> Iterable[dict]:
    return [json.loads(line) for line in made.session.environment.stdout.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_json_lines() -> None:
    made = console(output="json")
    made.report(FileSynced("dags/a.py", "added", 9, 4.1))
    made.report(VerdictReached(BROKEN, 96.0))
    made.print("for people only")
    made.record("status", {"state": "up"})
    first, second, third = records(made)
    assert first == {
        "specversion": "1.0",
        "id": "1",
        "source": "devenv",
        "type": "devenv.file.synced",
        "time": "2027-01-15T08:00:00.000+00:00",
        "data": {"path": "dags/a.py", "change": "added", "size": 9, "milliseconds": 4.1, "previous": ""},
    }
    assert (second["data"]["ok"], second["data"]["problems"][0]["line"]) == (False, 2)
    assert (third["type"], third["data"]) == ("devenv.status", {"state": "up"})
    assert made.session.environment.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_every_event_has_a_type_in_json() -> None:
    assert set(Event.__subclasses__()) == set(TYPES)
    assert len(set(TYPES.values())) == len(TYPES)


def test_reporting_never_raises_and_may_come_from_many_threads() -> None:
    made = console(terminal=True)
    threads = [
        threading.Thread(target=lambda: [made.report(Notice("info", f"line {n}")) for n in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plain(made.session.environment.stderr.getvalue()).count("note line") == 200  # type: ignore[attr-defined]
    made.session.environment.stderr.close()
    made.report(Notice("error", "nobody reads this"))


def test_a_question() -> None:
    assert console(terminal=True, stdin="y\n").confirm("Remove?")
    assert not console(terminal=True, stdin="\n").confirm("Remove?")
    assert console().confirm("Remove?", yes=True)
    with pytest.raises(NoAnswer):
        console(stdin="y\n").confirm("Remove?")


def test_a_table_fits_and_its_widest_column_gives_way() -> None:
    lines = table(("name", "detail"), [("scheduler", "x" * 100), ("db", "ok")], 40)
    assert [len(line.plain) for line in lines][1] == 40
    assert lines[2].plain == "db         ok"
    assert table(("name",), [], 40) == []


def test_numbers() -> None:
    assert [elapsed(value) for value in (0.416, 59.99, 60, 125, 3720)] == [
        "0.42s",
        "59.99s",
        "1m 00s",
        "2m 05s",
        "1h 02m",
    ]
    assert [milliseconds(value) for value in (4.12, 38.4, 999.6, 61_000)] == ["4.1 ms", "38 ms", "1.00 s", "1m 01s"]
    assert [size(value) for value in (512, 20_480, 1_200_000)] == ["512 B", "20.5 kB", "1.2 MB"]
    assert (plural(1, "file"), plural(2000, "file")) == ("1 file", "2,000 files")
    assert names(("a", "b", "c", "d", "e", "f")) == "a, b, c, d and 2 more"


def test_a_line_is_asked_for_until_input_ends() -> None:
    made = console(terminal=True, stdin="p total\n")
    assert (made.ask("(Pdb) "), made.ask("(Pdb) ")) == ("p total\n", "")
    assert made.session.environment.stderr.getvalue() == "(Pdb) (Pdb) "  # type: ignore[attr-defined]
