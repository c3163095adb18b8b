"""Task logs as each generation gives them."""

from __future__ import annotations

from devenv.airflow.task_log import read_2, read_3


def test_2_gives_pythons_text_of_a_list_of_hosts_and_texts() -> None:
    text = "*** Found local files:\n[2026-11-22T06:23:57.249+0000] {a.py:1} INFO - one\nTraceback\n"
    chunk = read_2({"content": str([("host", text)]), "continuation_token": "abc"})
    assert [line.text for line in chunk.lines][1:] == [
        "[2026-11-22T06:23:57.249+0000] {a.py:1} INFO - one",
        "Traceback",
    ]
    assert [line.time for line in chunk.lines] == [0.0, 1795328637.249, 0.0]
    assert chunk.token == "abc"


def test_2_content_that_is_no_list_is_shown_as_it_is() -> None:
    assert [line.text for line in read_2({"content": "[('a', 1"}).lines] == ["[('a', 1"]
    assert read_2({"content": None}).lines == ()


def test_3_gives_events_an_exception_with_its_frames() -> None:
    event = {
        "timestamp": "2026-11-22T06:27:03.149879Z",
        "event": "Task failed with exception\nsecond line",
        "level": "error",
        "task_id": "explode",
        "rows": 3,
        "error_detail": [
            {
                "exc_type": "ValueError",
                "exc_value": "no such table\x1b[2J",
                "frames": [{"filename": "/dags/a.py", "lineno": 9, "name": "explode"}],
            }
        ],
    }
    chunk = read_3({"content": [{"event": "::group::Log"}, event, "plain"], "continuation_token": None})
    assert [line.text for line in chunk.lines] == [
        "::group::Log",
        "[2026-11-22T06:27:03.149+0000] ERROR - Task failed with exception rows=3",
        "second line",
        "Traceback (most recent call last):",
        '  File "/dags/a.py", line 9, in explode',
        "ValueError: no such table",
        "plain",
    ]
    assert chunk.token == ""
