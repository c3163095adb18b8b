"""`devenv open`."""

from __future__ import annotations

import difflib
import sys
import webbrowser
from collections.abc import Mapping
from typing import Annotated

import typer

from devenv.cli.completion import complete_page
from devenv.cli.context import backend_from, console, project_from, reporter_from, session
from devenv.components import PAGE_NAMES, PAGES, page_name
from devenv.errors import UsageError
from devenv.events import Notice

# A text browser would take the terminal over, so that these show no page.
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")


class NoSuchPage(UsageError):
    """The component has no page, or does not run: `devenv status` lists the URLs there are."""

    code = "DEVENV-805"


def command(
    *,
    page: Annotated[
        str,
        typer.Argument(
            metavar="PAGE", help=f"{', '.join(PAGE_NAMES[:-1])} or {PAGE_NAMES[-1]}.", autocompletion=complete_page
        ),
    ] = "airflow",
    show: Annotated[bool, typer.Option("--print", help="Only print the URL.")] = False,
) -> None:
    """Opens a component's page in the browser; where there is no display, prints its URL.

    Examples:
      devenv open grafana
    """
    from devenv.backends.base import EnvironmentStopped

    status = backend_from(project_from()).status()
    if status.state in ("stopped", "missing"):
        raise EnvironmentStopped(status.state)
    urls = pages(status.urls)
    if page not in urls and status.state in ("up", "partly"):
        forwarded = {page_name(item.name) for item in status.components if item.name in PAGES}
        if not urls or page in forwarded:
            raise NoSuchPage(
                f"{page} is not reachable: its port is forwarded only while a watch runs", hint="devenv watch"
            )
    if page not in urls:
        near = difflib.get_close_matches(page, urls, 1, 0.5)
        raise NoSuchPage(
            f"there is no page {page!r}"
            + (f"; did you mean {near[0]}?" if near else "")
            + (f"; the pages are {', '.join(urls)}" if urls else ""),
            hint=f"devenv open {near[0]}" if near else ("devenv status" if urls else "devenv up"),
        )
    console().print(urls[page])
    console().record("page", {"name": page, "url": urls[page]})
    login = next(about.login for workload, about in PAGES.items() if page_name(workload) == page)
    if login:
        reporter_from()(Notice("info", f"user and password of {page}", hint=login))
    if not show and has_display(session().environment.variables):
        webbrowser.open(urls[page])


def pages(urls: Mapping[str, str]) -> dict[str, str]:
    """The URLs by the names that people use."""
    return {page_name(name): url for name, url in urls.items()}


def has_display(variables: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a browser's window would be seen here."""
    if variables.get("SSH_CONNECTION"):
        return False
    return platform in ("darwin", "win32") or any(variables.get(name) for name in _DISPLAYS)
