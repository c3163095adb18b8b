"""One step of `devenv up`, `down` or `destroy`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

Progress = Callable[[str, "float | None"], None]
"""Says what the step is doing right now, with a fraction from 0 to 1 where it can be told."""


class Step(ABC):
    """Something that must be so; steps that do not wait for each other overlap.

    Running a list of steps twice does nothing the second time; after an interruption it goes on from
    where it stopped, because each step asks the real thing, not a record, whether it is done.
    """

    name: ClassVar[str]
    """Short and stable, for `after` and for JSON: `cluster`, `images`, `vault`."""
    title: ClassVar[str]
    """For a person: "Start minikube"."""
    after: ClassVar[tuple[str, ...]] = ()
    """Names of the steps that must have ended before this one starts."""

    @abstractmethod
    def check(self) -> bool:
        """Whether it is already so; must be quick and change nothing."""

    @abstractmethod
    def run(self, progress: Progress) -> str:
        """Makes it so; returns a few words for the line of the step, or "".

        Raises:
            DevenvError: with cause and next command.
        """

    def cancel(self) -> None:  # noqa: B027 (most steps have nothing to end)
        """Ctrl-C: ends programs that `run` started; called from another thread, may be called when done."""
