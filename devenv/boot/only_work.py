"""Reports only the steps that have something to do, for a run of steps beside a watch."""

from __future__ import annotations

from devenv.events import Event, Output, Reporter, StepFailed, StepFinished, StepProgress, StepStarted


class OnlyWork:
    """A reporter that hears of a step only when there was something to do."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._started: dict[str, StepStarted] = {}

    def __call__(self, event: Event) -> None:
        """Passes on an event, and a step's start only once the step has done something."""
        if isinstance(event, StepStarted):
            self._started[event.name] = event
            return
        if isinstance(event, StepFinished) and event.skipped:
            self._started.pop(event.name, None)
            return
        if isinstance(event, (StepProgress, StepFinished, StepFailed, Output)):
            started = self._started.pop(event.name, None)
            if started is not None:
                self._report(started)
        self._report(event)
