"""Draws the pictures of the documentation: events that really happen, shown by the code that shows them.

python docs/screenshots.py
python docs/screenshots.py URL    only ui.png: the page that `devenv ui` serves at this URL, in Debian's Chromium
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI
from rich.text import Text

from devenv.airflow.model import Run
from devenv.backends.base import Component, EnvironmentStatus
from devenv.cli.status import lines as status_lines
from devenv.console.board import Judged, Save
from devenv.console.render import Renderer
from devenv.environment import Environment
from devenv.events import Notice, StepFinished, WatchStarted
from devenv.overview import Overview
from devenv.settings import SettingsError, load
from devenv.sync.lock import Holder
from devenv.verdict import Problem, Verdict

IMAGES = Path(__file__).resolve().parent / "images"
WIDTH = 96
RENDER = Renderer(WIDTH)
THEMES = {"": MONOKAI, "-light": DEFAULT_TERMINAL_THEME}
"""What is added to a picture's name → the ground and the sixteen colours of a terminal."""
NOW = time.mktime((2026, 1, 31, 9, 30, 0, 0, 0, 0))

SYNTAX = Problem(
    "syntax-error",
    "error",
    "'(' was never closed",
    "SyntaxError",
    "dags/shop.py",
    14,
    14,
    ("    @task", "    def load(total: float) -> None:", '        print(f"total {total}"'),
    12,
)
BROKEN = Verdict("dags/shop.py", problems=(SYNTAX,), removed=("shop", "shop_daily"))


def prompt(command: str) -> Text:
    """What the person typed."""
    return Text.assemble(("$ ", "green"), (command, "bold"))


def save() -> list[Text]:
    """Saves and their verdicts."""
    watching = WatchStarted("dags", 214, "agent", "inotify", 1.2)
    good = Verdict("dags/shop.py", ("shop", "shop_daily"))
    return [
        prompt("devenv watch"),
        RENDER.watch_started(watching),
        *RENDER.save(
            Save("dags/shop.py", "changed", 4.3, verdict=good, verdict_milliseconds=61, picked_up_milliseconds=1120)
        ),
        *RENDER.save(Save("dags/shop.py", "changed", 4.1, verdict=BROKEN, verdict_milliseconds=48)),
        *RENDER.save(Save("dags/config/sales.yaml", "changed", 3.8)),
        *RENDER.judged(
            Judged(
                Verdict("dags/dynamic.py", ("load_sales",), added=("load_sales",), because="dags/config/sales.yaml"), 92
            )
        ),
        Text(),
        *RENDER.broken_panel({"dags/shop.py": BROKEN}, 5),
        RENDER.watch_line(watching, None, 1),
    ]


def up() -> list[Text]:
    """A boot."""
    steps = [
        ("Check Docker, minikube, kubectl", 0.41, ""),
        ("Start minikube", 41.2, "1.38.1, Kubernetes v1.34.4"),
        ("Load images", 12.9, "3 images from this machine"),
        ("Start Vault", 6.3, ""),
        ("Start Postgres", 5.8, ""),
        ("Start Airflow", 31.7, "2.7.2, KubernetesExecutor"),
        ("Start the agent", 4.1, ""),
    ]
    rows = [
        ("Airflow", "http://127.0.0.1:8080"),
        ("Vault", "http://127.0.0.1:8200"),
        ("User", "admin"),
        ("Password", "••••••••••••••••"),
        ("Stop", "devenv down        keeps the data; devenv destroy removes it"),
    ]
    return [
        prompt("devenv up"),
        *RENDER.notice(Notice("info", "minikube: Docker and minikube are there")),
        *(RENDER.step_finished(StepFinished("", title, seconds, message=note)) for title, seconds, note in steps),
        Text(),
        *(
            Text.assemble((f"  {name:<11}", "bold"), (value, "cyan" if value.startswith("http") else ""))
            for name, value in rows
        ),
        Text(),
        RENDER.watch_started(WatchStarted("dags", 9, "agent", "inotify", 0.31)),
    ]


def settings() -> list[Text]:
    """Three mistakes in one message."""
    folder = Path("/nonexistent")
    variables = {"DEVENV_BACKEND": "minikub", "DEVENV_MINIKUBE__CPU": "4", "DEVENV_PORTS__AIRFLOW": "http"}
    try:
        load(folder, Environment(variables=variables))
    except SettingsError as error:
        return [prompt("devenv up"), *RENDER.error(error.message, error.detail, error.hint, error.code)]
    raise AssertionError("these settings are wrong")


def status() -> list[Text]:
    """`devenv status`."""
    components = (
        Component("scheduler", "running", since=NOW - 8000),
        Component("webserver", "running", since=NOW - 8010),
        Component("triggerer", "running", restarts=1, since=NOW - 420),
        Component("postgres", "running", since=NOW - 8100),
        Component("vault", "running", since=NOW - 8100),
        Component("agent", "running", since=NOW - 7900),
    )
    overview = Overview(
        EnvironmentStatus(
            "minikube", "shop-dags-1f3a9c07", "up", components, {}, {"airflow": "2.7.2", "kubernetes": "v1.34.4"}
        ),
        watcher=Holder(4711, NOW - 600),
        dags={"active": 11, "paused": 2, "broken": 1},
        runs=(
            Run("shop", "manual__2026-01-31T08:29:12", "success", NOW - 48, NOW - 7),
            Run("load_sales", "scheduled__2026-01-30T06:00:00", "failed", NOW - 400, NOW - 380),
        ),
    )
    return [prompt("devenv status"), *status_lines(overview, WIDTH, NOW)]


def page(url: str) -> None:
    """The upper part of `devenv ui`'s page, in light."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1100, "height": 1180}, color_scheme="light")
        shown.goto(url)
        shown.wait_for_selector("#components-rows tr")
        shown.wait_for_selector("#files-list li")
        shown.screenshot(path=IMAGES / "ui.png")
        browser.close()


def main() -> None:
    """Writes the pictures."""
    IMAGES.mkdir(exist_ok=True)
    if len(sys.argv) > 1:
        page(sys.argv[1])
        return
    for scene in (save, up, settings, status):
        for added, theme in THEMES.items():
            console = Console(
                record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, markup=False, highlight=False
            )
            for line in scene():
                console.print(line)  # a picture ends where a terminal wraps
            name = f"{scene.__name__}{added}"
            (IMAGES / f"{name}.svg").write_text(
                console.export_svg(title="devenv", theme=theme, unique_id=f"devenv-{name}"), encoding="utf-8"
            )


if __name__ == "__main__":
    main()
