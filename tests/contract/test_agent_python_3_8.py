"""The agent's part that writes files, on the Python of the oldest published Airflow images."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from devenv import process
from devenv.agent_program import agent_command, program
from devenv.sync.model import Batch, Entry, Put
from devenv.sync.targets.agent import AgentOptions, AgentTarget, Owner
from devenv.sync.targets.child import ChildDuplex
from devenv.verdict import Verdict


@pytest.fixture
def python_3_8() -> str:
    by_pyenv = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))
    if by_pyenv:
        return str(by_pyenv[-1])
    found = process.run(["uv", "python", "find", "3.8"], check=False) if shutil.which("uv") else None
    if found is None or found.returncode != 0:
        pytest.skip("there is no Python 3.8")
    return found.stdout.strip()


class Nobody:
    def verdict(self, verdict: Verdict) -> None: ...

    def lost(self, reason: str) -> None: ...


def test_every_module_compiles(python_3_8: str, tmp_path: Path) -> None:
    (tmp_path / "agent.zip").write_bytes(program())
    names = (
        "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); [compile(z.read(n), n, 'exec') for n in z.namelist()]"
    )
    process.run([python_3_8, "-c", names, tmp_path / "agent.zip"])
    modules = "frames, claim, ledger, lock, session, warm, graph, places, problems, deprecated, observe, parse, parser"
    process.run(
        [python_3_8, "-c", f"from devenv.agent import {modules}"], variables={"PYTHONPATH": f"{tmp_path}/agent.zip"}
    )


def test_a_session(python_3_8: str, tmp_path: Path) -> None:
    options = AgentOptions(claim=str(tmp_path), airflow=str(tmp_path), verdicts=False)
    target = AgentTarget(
        lambda: ChildDuplex(agent_command(python_3_8)), Nobody(), Owner("e", "h", "u", "f"), ["dags"], options
    )
    content = b"x" * 700_000
    entry = Entry("dags/a/big.bin", digest=hashlib.sha256(content).hexdigest(), size=len(content), executable=True)
    try:
        target.manifest()
        assert all(ack.ok for ack in target.apply(Batch(puts=(Put(entry, lambda: content),))))
        assert target.manifest()["dags/a/big.bin"] == entry
        assert all(ack.ok for ack in target.apply(Batch(deletes=("dags/a/big.bin", "dags/a"))))
        assert not target.manifest()
    finally:
        target.close()
    assert not list((tmp_path / "dags").iterdir())
