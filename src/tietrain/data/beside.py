"""A call that can be waited for and need not be: signals interrupt the wait, and the program can end before the call."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")


def call_beside(call: Callable[[], T], seconds: float | None = None) -> T:
    """What a call returns or raises, made in a daemon thread; TimeoutError if that takes longer than `seconds`."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except Exception as e:
            future.set_exception(e)

    threading.Thread(target=work, daemon=True).start()
    if wait([future], seconds).not_done:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return future.result()
