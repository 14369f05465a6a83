"""Many sequential computations that ask one question at a time, answered together."""

import concurrent.futures
import queue
from collections.abc import Callable, Sequence
from typing import Any

Ask = Callable[[Any], Any]


class _StoppedError(Exception):
    """Ends the computations that still run when no answers are to be had any more."""


def run_batched(tasks: Sequence[Callable[[Ask], Any]], answer: Callable[[list[int], list[Any]], Sequence[Any]]) -> list:
    """What each of the tasks returns, in their order.

    A task is a function of `ask`, which it calls with a question and which returns the answer. Each runs in a thread of
    its own until it asks; once all have asked or ended, the questions are answered together, by the caller's thread.
    So a library that works on one problem at a time can use a model that is fast only in batches. The batches don't
    depend on the timing of threads, and neither do results.

    Args:
        tasks: functions of `ask`.
        answer: answers, in order, to the questions of the tasks with these indices.

    Raises:
        Exception: whatever a task or `answer` raised; no thread is left behind.
    """
    asked: queue.SimpleQueue[tuple[int, bool, Any]] = queue.SimpleQueue()
    answered: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in tasks]

    def run(index: int) -> Any:  # noqa: ANN401
        def ask(question: Any) -> Any:  # noqa: ANN401
            asked.put((index, True, question))
            reply = answered[index].get()
            if reply is _StoppedError:
                raise _StoppedError
            return reply

        try:
            return tasks[index](ask)
        finally:
            asked.put((index, False, None))

    with concurrent.futures.ThreadPoolExecutor(max(len(tasks), 1)) as threads:
        try:
            futures = [threads.submit(run, index) for index in range(len(tasks))]
            running = len(tasks)
            while running:
                messages = sorted((asked.get() for _ in range(running)), key=lambda message: message[0])
                indices = [index for index, asks, _ in messages if asks]
                running = len(indices)
                replies = answer(indices, [question for _, asks, question in messages if asks]) if indices else []
                for index, reply in zip(indices, replies, strict=True):
                    answered[index].put(reply)
        finally:
            # After an error some are still waiting, and the threads end only when they do.
            for waiting in answered:
                waiting.put(_StoppedError)
        return [future.result() for future in futures]
