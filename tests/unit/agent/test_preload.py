"""What the warm process imports ahead: learnt, remembered, and never again what would not survive a fork."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from devenv.agent.places import Places
from devenv.agent.preload import Preload, package_of

THREAD = "import threading\nended = threading.Event()\nwaiting = threading.Thread(target=ended.wait)\nwaiting.start()\n"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    packages = tmp_path / "packages"
    (packages / "harmful_one").mkdir(parents=True)
    (packages / "harmful_one" / "__init__.py").write_text(THREAD)
    (packages / "harmful_one" / "part.py").write_text("")
    (packages / "harmless_one.py").write_text("")
    monkeypatch.syspath_prepend(str(packages))
    (tmp_path / "dags").mkdir()
    return Places({"dags": str(tmp_path / "dags")})


def test_a_module_that_starts_a_thread_is_left_out_for_good(places: Places, tmp_path: Path) -> None:
    memory = str(tmp_path / "memory")
    first = Preload(places, memory)
    first.learn(["harmless_one", "harmful_one.part"])
    before = threading.active_count()
    try:
        assert first.step()
        assert not first.step()  # this process would have to be replaced
        assert threading.active_count() > before
    finally:
        harmful = sys.modules["harmful_one"]
        harmful.ended.set()
        harmful.waiting.join()
        for name in ("harmful_one", "harmful_one.part", "harmless_one"):
            sys.modules.pop(name, None)
    second = Preload(places, memory)
    assert second  # the harmless one is remembered
    second.learn(["harmful_one", "harmful_one.part"])
    assert second.step()
    assert not second
    assert "harmful_one" not in sys.modules
    sys.modules.pop("harmless_one", None)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("pandas.core.api", "pandas"),
        ("airflow.providers.google.cloud.hooks.gcs", "airflow.providers.google"),
        ("airflow.operators.bash", "airflow.operators.bash"),
    ],
)
def test_what_is_left_out_with_it(name: str, package: str) -> None:
    assert package_of(name) == package
