"""The page of `devenv ui` in a real browser (Debian's Chromium), beside a real watch of a real environment."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from devenv.vault import seeds

from .conftest import World, watching

pytest.importorskip("playwright", reason="Playwright is not installed (the group dev of pyproject.toml)")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 60_000
"""Milliseconds that a page may take on a machine that is busy."""

pytestmark = [
    pytest.mark.local,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def url(airflow_2: World) -> Iterator[str]:
    """`devenv ui` as a process beside a watch; Ctrl-C ends it."""
    with watching(airflow_2):
        served = subprocess.Popen(
            [sys.executable, "-m", "devenv", "ui", "--no-open"],
            cwd=airflow_2.folder,
            env={**airflow_2.variables, "DEVENV_BACKEND": "local"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert served.stdout is not None
        try:
            yield served.stdout.readline().strip()
        finally:
            served.send_signal(signal.SIGINT)
            assert served.wait(60) == 130
            served.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, with the components and the watch's files on it; an error in its program fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    made = context.new_page()
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    made.goto(url)
    expect(made.locator("#components-rows tr", has_text="scheduler")).to_contain_text("running")
    expect(made.locator("#files-list li", has_text="dags/hello.py")).to_be_visible()
    yield made
    assert errors == []
    context.close()


def test_a_save_that_breaks_a_dag_and_its_repair_are_seen_as_they_happen(page: Page, airflow_2: World) -> None:
    airflow_2.write("shop.py", "# airflow dag\ntotal = (1 +\n")
    row = page.locator("#files-list li", has_text="dags/shop.py")
    expect(row).to_contain_text("✗ broken")
    expect(row).to_contain_text("SyntaxError")
    expect(row.locator("pre .here")).to_contain_text("total = (1 +")
    expect(page.locator("#files-count")).to_contain_text("1 broken")
    expect(page).to_have_title("(1 broken) devenv")
    expect(page.locator("#chart svg")).to_have_attribute("aria-label", re.compile(r"dags/shop\.py.*the verdict"))
    expect(page.locator("#saves-rows tr", has_text="DAG volume").locator("td").first).not_to_have_text("0")
    page.get_by_label("only broken").check()
    expect(page.locator("#files-list li")).to_have_count(1)
    airflow_2.write("shop.py", "# airflow dag\ntotal = 1\n")
    expect(page.locator("#files-empty")).to_have_text("No file is like this.")
    page.get_by_label("only broken").uncheck()
    expect(row).to_contain_text("✓ ok")
    (airflow_2.folder / "dags" / "shop.py").unlink()
    expect(row).to_have_count(0)


def test_it_can_be_used_by_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the DAG files")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#files")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#files-filter")).to_be_focused()
    page.keyboard.type("nothing like this")
    expect(page.locator("#files-list li")).to_have_count(0)
    button = page.get_by_role("button", name="log of scheduler")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#logs-lines")).to_be_focused()
    expect(page.locator("#logs-component")).to_have_value("scheduler")
    expect(page.locator("#logs-lines b").first).to_have_text("scheduler")
    page.locator("#logs-filter").fill("no log has this line")
    expect(page.locator("#logs-lines div")).to_have_count(0)


def test_secrets_are_named_and_never_shown(page: Page, airflow_2: World) -> None:
    expect(page.locator("#secrets-rows tr", has_text="airflow/core")).to_contain_text("FERNET_KEY")
    expect(page.locator("#logs-lines div").first).to_be_visible()
    values = seeds.known_values(airflow_2.project, seeds.load_or_create(airflow_2.project))
    content = page.content()
    assert [value for value in values if len(value) >= 8 and value in content] == []


def test_the_token_leaves_the_address_bar_and_lasts_a_reload_of_this_tab_only(page: Page, url: str) -> None:
    assert "token" not in page.url
    page.reload()
    expect(page.locator("#components-rows tr", has_text="scheduler")).to_be_visible()
    assert page.context.cookies() == []
    stranger = page.context.browser.new_page()  # type: ignore[union-attr]
    stranger.goto(url.partition("#")[0])
    expect(stranger.locator("#connection")).to_contain_text("No entry")
    expect(stranger.locator("#files-list li")).to_have_count(0)
    stranger.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_axe_finds_nothing(page: Page, airflow_2: World, scheme: str, width: int) -> None:
    path = airflow_2.write("shop.py", "# airflow dag\nimport not_there_at_all\n")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    expect(page.locator("#files-list li pre")).to_be_visible()
    expect(page.locator("#chart svg")).to_be_visible()
    expect(page.locator("#secrets-rows tr").first).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    wide, room = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= room
    path.unlink()
    expect(page.locator("#files-list li", has_text="shop.py")).to_have_count(0)
