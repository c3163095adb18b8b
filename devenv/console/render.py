"""Events as lines of text: what a person sees, in one place, for terminals, pipes and screenshots alike."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from rich.console import Console
from rich.text import Text

from devenv.console.board import Burst, Gone, Item, Judged, Save, SchedulerSaw
from devenv.console.words import elapsed, milliseconds, names, plural, size
from devenv.events import (
    BatchSynced,
    ConnectionChanged,
    FileSkipped,
    LogLine,
    Notice,
    StepFailed,
    StepFinished,
    WatchStarted,
)
from devenv.foreign_text import visible
from devenv.verdict import Problem, Verdict

VERB = 12
"""Verbs are set flush right in this many columns, as cargo does."""

_COLORS = {
    "added": "green",
    "changed": "cyan",
    "renamed": "cyan",
    "deleted": "yellow",
    "mode": "cyan",
    "ok": "green",
    "repaired": "bold green",
    "broken": "bold red",
    "warning": "yellow",
    "error": "bold red",
}
_COMPONENT_COLORS = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")
_ASCII = str.maketrans("✓✗•→│❱…·─●○", "+x*>|>~--*o")


@dataclass(frozen=True)
class Renderer:
    """Makes lines for a terminal.

    Attributes:
        width: columns; lines that would be longer are wrapped or cut.
        unicode: whether marks beyond ASCII can be shown.
    """

    width: int = 80
    unicode: bool = True

    # -- steps

    def step_finished(self, event: StepFinished) -> Text:
        """`✓ Start minikube  42.10s`."""
        note = event.message or ("already so" if event.skipped else "")
        took = "" if event.skipped else elapsed(event.seconds)
        return self._step("✓", "green", event.title, took, note)

    def step_failed(self, event: StepFailed) -> Text:
        """`✗ Start minikube  3.20s`."""
        return self._step("✗", "bold red", event.title, elapsed(event.seconds), "")

    def step_running(self, mark: str, title: str, seconds: float, message: str, fraction: float | None) -> Text:
        """`⠋ Start minikube  12.30s  pulling base image  40 %`."""
        part = f"{fraction:.0%}" if fraction is not None else ""
        return self._step(mark, "cyan", title, elapsed(seconds), "  ".join(filter(None, (message, part))))

    def _step(self, mark: str, style: str, title: str, took: str, note: str) -> Text:
        line = Text.assemble((mark, style), " ", (title.ljust(30), "" if took else "dim"))
        if took:
            line.append(f" {took:>8}", "dim")
        if note:
            line.append(f"  {note}", "dim")
        return self._cut(line)

    def output(self, line: str) -> Text:
        """A line of a program that a step runs."""
        return self._cut(Text(f"    {line.rstrip()}", "dim"))

    # -- the watch

    def item(self, item: Item) -> list[Text]:
        """What the board says is to be printed."""
        if isinstance(item, Save):
            return self.save(item)
        if isinstance(item, Judged):
            return self.judged(item)
        if isinstance(item, Burst):
            because = f"  because of {item.because}" if item.because else ""
            return [
                self._row(
                    "ok",
                    plural(item.files, "DAG file"),
                    Text(f"parsed{because}  {milliseconds(item.milliseconds)}", "dim"),
                )
            ]
        if isinstance(item, SchedulerSaw):
            return [self._row("scheduler", item.path, Text(f"has it  {milliseconds(item.milliseconds)}", "dim"), "dim")]
        return [self._gone(item)]

    def _gone(self, item: Gone) -> Text:
        return self._row(
            "gone", item.path, Text(f"DAGs: {names(item.dag_ids)}" if item.dag_ids else "", "yellow"), "yellow"
        )

    def save(self, save: Save) -> list[Text]:
        """One line: what happened to the file, how long each part took, the verdict; below it what is wrong."""
        facts = Text.assemble((f"{milliseconds(save.milliseconds):>7}", "dim"))
        if save.previous:
            facts.append(f"  was {save.previous}", "dim")
        verdict = save.verdict
        if verdict is None:
            return [self._row(save.change, save.path, facts)]
        took = milliseconds(save.verdict_milliseconds)
        if verdict.ok:
            facts.append("  ✓ ", "green")
            facts.append(took, "dim")
            facts.append("  ").append_text(_dags(verdict))
            if save.picked_up_milliseconds is not None:
                facts.append(f"  scheduler {milliseconds(save.picked_up_milliseconds)}", "dim")
        else:
            facts.append("  ✗ ", "bold red")
            facts.append(took, "dim")
        verb = "repaired" if save.repaired else save.change if verdict.ok else "broken"
        return [self._row(verb, save.path, facts), *self._problems(verdict)]

    def judged(self, item: Judged) -> list[Text]:
        """A verdict that no save of this file asked for."""
        verdict = item.verdict
        facts = Text()
        if item.milliseconds:
            facts.append(f"{milliseconds(item.milliseconds):>7}  ", "dim")
        if verdict.ok:
            facts.append_text(_dags(verdict))
        if verdict.speaker == "scheduler":
            facts.append("says the scheduler", "dim")
        if verdict.because:
            facts.append(f"{'  ' if verdict.ok else ''}because of {verdict.because}", "dim")
        verb = "repaired" if item.repaired else "ok" if verdict.ok else "broken"
        if item.again:
            facts.append("  the same problem", "red")
            return [self._row(verb, verdict.file, facts)]
        return [self._row(verb, verdict.file, facts), *self._problems(verdict)]

    def _problems(self, verdict: Verdict) -> list[Text]:
        lines: list[Text] = []
        for problem, more in _grouped(verdict):
            if problem.severity != "info":  # worth knowing for `devenv check`, not at each save
                lines += self.problem(problem, verdict.file, more)
        if not verdict.ok and verdict.removed:
            lines.append(self._indented(Text(f"gone with it: {names(verdict.removed)}", "yellow")))
        return lines

    def problem(self, problem: Problem, file: str = "", more: Sequence[int] = ()) -> list[Text]:
        """Type, message, rule, place, the lines around it with a caret, and what to do.

        Args:
            problem: to show.
            file: that the verdict is on.
            more: further lines of the file for which the same rule says the same.
        """
        style = {"error": "bold red", "warning": "yellow"}.get(problem.severity, "dim")
        message = problem.message.strip() or problem.rule
        head = Text()
        head.append(problem.type or problem.severity, style)
        head.append(": ")
        head.append(message)
        if problem.severity != "error":
            head.append(f"  [{problem.rule}]", "dim")
        if more:
            lines_of = names(tuple(map(str, sorted(more))))
            head.append(f"  and {len(more)} more: {'lines' if len(more) > 1 else 'line'} {lines_of}", "dim")
        lines = self._wrapped(head)
        place = problem.file or file
        if place and problem.line:
            lines.append(
                self._indented(
                    Text(f"{place}:{problem.line}" + (f":{problem.column}" if problem.column else ""), "bold")
                )
            )
        elif place and place != file:
            lines.append(self._indented(Text(place, "bold")))
        lines += self._excerpt(problem)
        if problem.hint:
            lines += self._wrapped(Text(f"→ {problem.hint}", "cyan"))
        return lines

    def _excerpt(self, problem: Problem) -> list[Text]:
        lines: list[Text] = []
        last = problem.excerpt_line + len(problem.excerpt) - 1
        digits = len(str(last))
        for number, code in enumerate(problem.excerpt, problem.excerpt_line):
            here = number == problem.line
            line = Text.assemble(
                ("❱ " if here else "  ", "bold red"),
                (f"{number:>{digits}} │ ", "dim"),
                (code.expandtabs(4), "" if here else "dim"),
            )
            lines.append(self._indented(line))
            if here and problem.column:
                before = len(problem.excerpt[number - problem.excerpt_line][: problem.column - 1].expandtabs(4))
                lines.append(self._indented(Text(f"{' ' * (digits + 2)} │ {' ' * before}^".rstrip(), "bold red")))
        return lines

    def batch(self, event: BatchSynced) -> Text:
        """Many files at once."""
        parts = [
            f"{count:,} {verb}"
            for count, verb in ((event.added, "added"), (event.changed, "changed"), (event.deleted, "deleted"))
            if count
        ]
        total = event.added + event.changed + event.deleted
        facts = Text(f"{', '.join(parts)}  {size(event.size)}  {milliseconds(event.milliseconds)}", "dim")
        return self._row("synced", plural(total, "file"), facts, "cyan")

    def watch_started(self, event: WatchStarted) -> Text:
        """`watching dags/  214 files in step (agent, inotify)  1.20s`."""
        facts = Text(
            f"{plural(event.files, 'file')} in step  {event.target}, {event.watcher}  {elapsed(event.seconds)}", "dim"
        )
        return self._row("watching", event.folder, facts, "green")

    def connection(self, event: ConnectionChanged) -> Text:
        """The session to the volume was lost or is back."""
        if event.state == "connected":
            return self._row("connected", "again" + (f": {event.reason}" if event.reason else ""), Text(), "green")
        verb = "lost" if event.state == "lost" else "connecting"
        attempt = f"  attempt {event.attempt}" if event.attempt > 1 else ""
        return self._row(verb, event.reason or "the session to the volume", Text(attempt, "dim"), "yellow")

    def skipped(self, event: FileSkipped) -> Text:
        """A file that is not sent."""
        return self._row("skipped", event.path, Text(event.reason, "dim"), "yellow")

    def notice(self, event: Notice) -> list[Text]:
        """A line for the person."""
        verb, style = {"info": ("note", "cyan"), "warning": ("warning", "yellow"), "error": ("error", "bold red")}[
            event.level
        ]
        first, *rest = self._wrapped(Text(event.message))
        first = Text.assemble((f"{verb:>{VERB}}", style), " ", first[VERB + 1 :])
        lines = [first, *rest]
        if event.hint:
            lines += self._wrapped(Text(f"→ {event.hint}", "cyan"))
        return lines

    def broken_panel(self, broken: Mapping[str, Verdict], height: int) -> list[Text]:
        """What is broken now, a line each, for the bottom of the screen."""
        if not broken:
            return []
        title = f"── broken now: {plural(len(broken), 'file')} "
        lines = [Text(title.ljust(min(self.width, 100), "─"), "red")]
        room = max(1, height - 2)
        for file, verdict in sorted(broken.items())[:room]:
            error = next(problem for problem in verdict.problems if problem.severity == "error")
            place = f"{file}:{error.line}" if error.line and error.file in ("", file) else file
            message = (error.message.strip().splitlines() or [""])[0]
            lines.append(
                self._cut(Text.assemble("  ", (place, "bold"), "  ", (error.type or error.rule, "red"), f": {message}"))
            )
        if len(broken) > room:
            lines.append(Text(f"  … and {len(broken) - room} more: devenv status", "dim"))
        return lines

    def watch_line(self, event: WatchStarted, lost: ConnectionChanged | None, broken: int) -> Text:
        """The last line of the live display: `● watching dags/  all files parse`."""
        if lost is not None:
            attempt = f", attempt {lost.attempt}" if lost.attempt > 1 else ""
            return self._cut(
                Text(f"○ connection lost ({lost.reason or 'no reason given'}), trying again{attempt}", "yellow")
            )
        line = Text.assemble(("● ", "red" if broken else "green"), ("watching ", "dim"), (event.folder, "bold"))
        line.append("  Ctrl-C stops the watch, not Airflow", "dim")
        return self._cut(line)

    # -- errors and logs

    def error(self, message: str, detail: str | None, hint: str | None, code: str) -> list[Text]:
        """What failed, why, and last of all the next command."""
        lines: list[Text] = []
        if detail:
            lines += [Text(f"    {line}", "dim") for line in detail.rstrip().splitlines()[-40:]]
        first, *rest = message.splitlines() or [""]
        lines.append(Text.assemble(("error", "bold red"), ": ", first, (f"  {code}", "dim")))
        lines += [Text(line) for line in rest]
        if hint:
            lines.append(Text.assemble(("→ ", "cyan"), (hint, "cyan")))
        return lines

    def log_line(self, event: LogLine, when: str) -> Text:
        """One line of a component's log."""
        color = _COMPONENT_COLORS[sum(event.component.encode()) % len(_COMPONENT_COLORS)]
        return Text.assemble((when, "dim"), " ", (f"{event.component:<{VERB}}", color), " ", event.text)

    # -- layout

    def _row(self, verb: str, subject: str, facts: Text, style: str | None = None) -> Text:
        """`     changed dags/shop.py      4.1 ms …`: a fixed verb column, the subject padded, then the facts."""
        column = 44 if self.width >= 110 else 28
        room = max(12, self.width - VERB - 1 - facts.cell_len - 2)
        shown = shorten(subject, max(room, 12))
        line = Text.assemble((f"{verb:>{VERB}}", style or _COLORS.get(verb, "cyan")), " ")
        line.append(shown.ljust(min(column, room)) if facts else shown)
        if facts:
            line.append("  ")
            line.append_text(facts)
        return self._cut(line)

    def _indented(self, text: Text) -> Text:
        return self._cut(Text.assemble(" " * (VERB + 1), text))

    def _wrapped(self, text: Text) -> list[Text]:
        """The text in lines that fit, indented below the subjects."""
        room = max(20, self.width - VERB - 1)
        lines: list[Text] = []
        for line in text.split("\n", allow_blank=True):
            parts = line.wrap(_measure(), room) if line.cell_len > room else [line]
            lines += [Text.assemble(" " * (VERB + 1), part) for part in parts]
        for line in lines:
            line.rstrip()
        return lines

    def _cut(self, line: Text) -> Text:
        if line.cell_len > self.width:
            line.truncate(self.width, overflow="ellipsis")
        return line

    def final(self, lines: Iterable[Text]) -> list[Text]:
        """The lines as they may reach the stream: foreign text made safe, in the characters that the stream takes."""
        return [_final(line, self.unicode) for line in lines]


def _final(line: Text, unicode: bool) -> Text:  # noqa: FBT001
    plain = visible(line.plain)  # one character for one: the colours stay where they are
    plain = plain if unicode else plain.translate(_ASCII)
    if plain == line.plain:
        return line
    copy = line.copy()
    copy.plain = plain
    return copy


def shorten(path: str, width: int) -> str:
    """The end of a path that fits: what tells files apart stands at the end."""
    path = path.replace("\n", "\ufffd")  # a name is one line, whatever it holds
    return path if len(path) <= width else f"…{path[-(width - 1) :]}"


def _grouped(verdict: Verdict) -> list[tuple[Problem, list[int]]]:
    """Problems to show: of the warnings of one rule, the first in each file, with the lines of the others."""
    found: list[tuple[Problem, list[int]]] = []
    first: dict[tuple[str, str], list[int]] = {}
    for problem in verdict.problems:
        key = (problem.rule, problem.file)
        if problem.severity == "error" or not problem.line:
            found.append((problem, []))
        elif key in first:
            first[key].append(problem.line)
        else:
            first[key] = []
            found.append((problem, first[key]))
    return found


def _dags(verdict: Verdict) -> Text:
    text = Text()
    if verdict.added:
        text.append(f"+{names(verdict.added)} ", "green")
    if verdict.removed:
        text.append(f"-{names(verdict.removed)} ", "yellow")
    ignored = verdict.rule("ignored-file")
    if ignored is not None:
        pattern = ignored.excerpt[ignored.line - ignored.excerpt_line : ignored.line - ignored.excerpt_line + 1]
        where = " ".join([f"{ignored.file}:{ignored.line}", *(repr(line) for line in pattern)])
        text.append(f"Airflow does not look at it: {where}", "dim")
    elif not text:
        text.append(plural(len(verdict.dag_ids), "DAG") if verdict.dag_ids else "no DAG", "dim")
    warnings = sum(problem.severity == "warning" for problem in verdict.problems)
    if warnings:
        text.append(f"  {plural(warnings, 'warning')}", "yellow")
    text.rstrip()
    return text


@cache
def _measure() -> Console:
    """`Text.wrap` asks a console how wide characters are."""
    return Console(file=io.StringIO(), width=200)
