"""The thread of a widget: long work that goes on while the kernel answers, and that stops between two of its steps.

While a cell or a callback runs, a kernel handles no message of a widget unless it has a second shell for them. So a
callback only hands its work to a `Worker` and returns.
"""

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any

from daclip_lab.errors import InputError


class Worker:
    """Runs one job at a time in a thread of its own.

    A job is an iterator. Between two of its items the worker looks whether it should pause or stop; a job that is
    stopped is closed, so that its `finally` blocks run in the worker's thread.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop, self._go = threading.Event(), threading.Event()
        self._waiting: tuple | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a job runs, paused or not."""
        return self._thread is not None

    @property
    def paused(self) -> bool:
        """Whether the job that runs waits for `resume`."""
        return self.busy and not self._go.is_set()

    def start(
        self,
        job: Iterable,
        *,
        on_item: Callable[[Any], None] = lambda item: None,
        on_end: Callable[[bool, Exception | None], None] = lambda stopped, error: None,
        replace: bool = False,
    ) -> None:
        """Run a job and return at once.

        Args:
            job: iterated in the worker's thread; its first item is also made there.
            on_item: called there with each item.
            on_end: called there once, with whether the job was stopped, and with what it raised. Without an error the
                job has been closed.
            replace: stop the job that runs, and run this one after it. Of several jobs that wait the last one runs, the
                others never start: the newest wins.

        Raises InputError when a job runs and `replace` is not set.
        """
        if threading.current_thread() is threading.main_thread():
            release_idle_threads()
        with self._lock:
            if self._thread is None:
                self._begin(job, on_item, on_end)
            elif replace:
                self._waiting = (job, on_item, on_end)
                self._stop.set()
                self._go.set()
            else:
                raise InputError("a job is running: stop it, or wait for its end")

    def _begin(self, *job: Any) -> None:
        self._stop.clear()
        self._go.set()
        self._error = None
        self._thread = threading.Thread(target=self._run, args=job, daemon=True, name="widget")
        self._thread.start()

    def pause(self) -> None:
        """Let the job wait before its next step."""
        self._go.clear()

    def resume(self) -> None:
        """Let the job go on."""
        self._go.set()

    def stop(self) -> None:
        """Ask the job to end before its next step, paused or not; jobs that wait are dropped."""
        with self._lock:
            self._waiting = None
            self._stop.set()
            self._go.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until no job runs or waits, at most `timeout` seconds; returns whether that is so.

        Raises what the last job raised. An interrupt (Ctrl-C, the kernel's stop button) stops the job and is raised
        again once it has ended.
        """
        interrupted: KeyboardInterrupt | None = None
        while (thread := self._current()) is not None:
            try:
                # Short waits, since on some systems an interrupt does not wake a join.
                thread.join(0.2 if timeout is None else min(timeout, 0.2))
            except KeyboardInterrupt as error:
                interrupted = error
                self.stop()
            if timeout is not None and thread.is_alive():
                timeout -= 0.2
                if timeout <= 0:
                    return False
        if interrupted is not None:
            raise interrupted
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return True

    def _current(self) -> threading.Thread | None:
        with self._lock:  # under it a thread is made and started
            return self._thread

    def _run(self, job: Iterable, on_item: Callable, on_end: Callable) -> None:
        error: Exception | None = None
        stopped = False
        try:
            with closing(_steps(job)) as steps:
                while not (stopped := self._must_stop()):
                    try:
                        item = next(steps)
                    except StopIteration:
                        break
                    on_item(item)
        except Exception as caught:  # shown where the job was started from
            error = caught
        try:
            on_end(stopped, error)
        except Exception as caught:
            error = error or caught
        with self._lock:
            self._error, self._thread = error, None
            if self._waiting is not None:
                following, self._waiting = self._waiting, None
                self._begin(*following)

    def _must_stop(self) -> bool:
        self._go.wait()
        return self._stop.is_set()


def release_idle_threads() -> None:
    """End the threads that OpenMP keeps for the calling thread; its next operation of torch starts them again.

    While they wait, there are more threads than cores, and libgomp lets those of the worker fall asleep after each
    operation, which slows a training there (`python -m benchmarks.widgets_board` prints by how much).
    """
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().select(user_api="openmp").lib_controllers:
        # Of OpenMP 5.0; 1 is `omp_pause_soft`, which keeps settings.
        pause = getattr(library.dynlib, "omp_pause_resource_all", None)
        if pause is not None:
            pause(1)


def _steps(job: Iterable) -> Generator:
    """The items of a job; closing it closes the job."""
    yield from job
