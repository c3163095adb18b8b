"""Real processes that change the seeds of one environment at once, some of them killed while they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.project import Project
from devenv.settings.schema import Settings
from devenv.vault import seeds

pytestmark = [pytest.mark.local, pytest.mark.timeout(300)]

WRITER = """
import sys
from pathlib import Path
from devenv.environment import Environment
from devenv.project import Project
from devenv.settings.schema import Settings
from devenv.vault.editor import SecretEditor
from devenv.vault.keeper import SeedKeeper

project = Project(Path(sys.argv[1]), Settings(), Environment(variables={"DEVENV_DATA": sys.argv[2]}))
keeper = SeedKeeper(project)
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    SecretEditor(project, keeper, None).set(f"team/{sys.argv[3]}-{number}", {"KEY": "value"})
    print(number, flush=True)
"""


def test_no_change_that_was_made_is_lost_though_writers_are_killed(tmp_path: Path) -> None:
    folder, data = tmp_path / "shop", tmp_path / "data"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(data), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(8)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for number, writer in enumerate(writers[:4]):
        assert writer.stdout is not None
        for _ in range(2 + 4 * number):
            writer.stdout.readline()
        writer.kill()
    made = set()
    for number, writer in enumerate(writers):
        output, _ = writer.communicate(timeout=120)
        before = 2 + 4 * number if number < 4 else 0
        last = max([int(line) for line in output.split()] + [before - 1])
        made |= {f"team/{number}-{each}" for each in range(last + 1)}
        assert writer.returncode == (-9 if number < 4 else 0)
    project = Project(folder, Settings(), Environment(variables={"DEVENV_DATA": str(data)}))
    assert made <= set(seeds.load_or_create(project).kept)
    assert isinstance(json.loads(seeds.kept_file(project).read_text()), dict)
