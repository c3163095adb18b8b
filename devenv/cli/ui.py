"""`devenv ui`."""

from __future__ import annotations

import threading
import webbrowser
from typing import Annotated

import typer

from devenv.cli.context import backend_from, console, project_from, session
from devenv.events import Notice


def command(
    *,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")
    ] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the URL.")] = False,
) -> None:
    """Serves a page: DAG files and their verdicts, how long saves take, components, logs, names of secrets.

    It listens on 127.0.0.1, the URL holds a random token, and it only shows. Run it beside `devenv up` or
    `devenv watch`, which it needs for verdicts with the lines of code. Ctrl-C ends it.

    Examples:
      devenv ui
      devenv ui --no-open --port 8090        over SSH: ssh -L 8090:127.0.0.1:8090 HOST
    """
    from devenv.cli.open import has_display
    from devenv.sync.lock import holder
    from devenv.ui.feed import Feed
    from devenv.ui.server import PageServer

    project = project_from()
    out = console()
    feed = Feed(project, backend_from(project))
    with PageServer(feed, port) as server:
        feed.start()
        out.print(server.url)
        out.record("ui", {"url": server.url})
        if holder(project.state_folder) is None:
            out.report(
                Notice("info", "nothing watches the DAG folder; the page has what Airflow knows", "devenv watch")
            )
        out.report(Notice("info", "the page is served until Ctrl-C; who has the URL can read it"))
        if not no_open and has_display(session().environment.variables):
            threading.Thread(target=webbrowser.open, args=(server.ticket_url(),), daemon=True).start()
        try:
            server.serve_forever(0.2)
        finally:
            feed.stop()
