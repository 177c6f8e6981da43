"""Being asked to stop: signals are noted, and the loop ends at the next whole step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Notes the first stop signal while it is entered; later ones change nothing.

    `signal` is None until then. Outside the main thread, where Python delivers no signals, only `ask` sets it.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Stop as if signal `number` had come."""
        self.signal = self.signal or int(number)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self.ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
