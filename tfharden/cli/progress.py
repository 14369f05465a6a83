"""Progress of work, as one line on stderr: how far it has come and how long it took."""

import sys
import time
from typing import Self

WIDTH = 24
# Seconds between two redraws.
PAUSE = 0.1


class Progress:
    """Progress of a piece of work, or of its parts one after another.

    On a terminal the line is redrawn; elsewhere only what is finished gets a line, so logs stay short.

    Args:
        label: what is being done.
    """

    def __init__(self, label: str) -> None:
        self._live = sys.stderr.isatty()
        self._note, self._drawn = "", 0.0
        self._start(label)

    def __enter__(self) -> Self:
        return self

    def __call__(self, share: float, note: str = "") -> None:
        """Shows the share of the work that is done, and a word on it."""
        self._note = note or self._note
        if self._live and time.monotonic() - self._drawn > PAUSE:
            self._drawn = time.monotonic()
            bar = "=" * round(share * WIDTH)
            sys.stderr.write(f"\r\033[K{self._label:<40} [{bar:<{WIDTH}}] {share:4.0%}  {self._note}")
            sys.stderr.flush()

    def part(self, label: str, share: float) -> None:
        """Shows a part of the work under its own label; a part that is done leaves its line."""
        if label != self._label:
            self._start(label)
        self(share)
        if share >= 1:
            self.finish()

    def finish(self) -> None:
        """Leaves a line with the seconds that the work took."""
        clear = "\r\033[K" if self._live else ""
        sys.stderr.write(
            f"{clear}{self._label:<40} {time.monotonic() - self._began:6.1f} s  {self._note}".rstrip() + "\n"
        )
        sys.stderr.flush()
        self._start("")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._label:
            self.finish()
        elif self._live:
            sys.stderr.write("\n")

    def _start(self, label: str) -> None:
        self._label, self._note = label, ""
        self._began, self._drawn = time.monotonic(), 0.0
