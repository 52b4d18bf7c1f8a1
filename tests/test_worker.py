"""A widget's thread: one job at a time, pause and stop between two steps, the newest job wins."""

import os
import sys
import threading

import pytest
import torch

from daclip_lab.errors import InputError
from daclip_lab.widgets.worker import Worker, release_idle_threads


class Counting:
    """A job of `total` steps; each waits until the test allows it. Notes what was done and whether it was closed."""

    def __init__(self, total):
        self.total, self.done, self.closed = total, [], threading.Event()
        self.allowed, self.made = threading.Semaphore(0), threading.Semaphore(0)

    def __iter__(self):
        try:
            for k in range(self.total):
                assert self.allowed.acquire(timeout=10)
                self.done.append(k)
                self.made.release()
                yield k
        finally:
            self.closed.set()

    def let(self, steps):
        for _ in range(steps):
            self.allowed.release()
        for _ in range(steps):
            assert self.made.acquire(timeout=10)


@pytest.fixture
def ended():
    """A function for `on_end`, with the list of what it was called with."""
    calls = []

    def on_end(stopped, error):
        calls.append((stopped, error))

    on_end.calls = calls
    return on_end


def test_a_job_runs_to_its_end_in_another_thread(ended):
    worker, seen, threads = Worker(), [], set()

    def note(item):
        seen.append(item)
        threads.add(threading.current_thread())

    worker.start(range(5), on_item=note, on_end=ended)
    assert worker.wait(10)
    assert seen == [0, 1, 2, 3, 4] and threading.current_thread() not in threads
    assert ended.calls == [(False, None)] and not worker.busy


def test_stop_acts_between_two_steps_and_closes_the_job(ended):
    worker, job = Worker(), Counting(100)
    worker.start(iter(job), on_end=ended)
    job.let(3)
    worker.stop()
    job.allowed.release()  # the step that may have begun
    assert worker.wait(10) and job.closed.is_set()
    assert len(job.done) <= 4 and ended.calls == [(True, None)]


def test_paused_it_makes_no_step_until_it_is_resumed(ended):
    worker, job = Worker(), Counting(6)
    worker.start(iter(job), on_end=ended)
    job.let(2)
    worker.pause()
    for _ in range(4):
        job.allowed.release()
    assert not worker.wait(0.5)
    assert worker.paused and len(job.done) <= 3  # one step may have begun before the pause
    worker.resume()
    assert worker.wait(10) and job.done == [*range(6)] and ended.calls == [(False, None)]


def test_stop_ends_a_paused_job(ended):
    worker, job = Worker(), Counting(6)
    worker.start(iter(job), on_end=ended)
    job.let(1)
    worker.pause()
    worker.stop()
    job.allowed.release()
    assert worker.wait(10) and ended.calls == [(True, None)]


def test_one_job_at_a_time_and_the_newest_wins(ended):
    worker, job, seen = Worker(), Counting(100), []
    worker.start(iter(job), on_end=ended)
    with pytest.raises(InputError):
        worker.start([1])
    for k in range(5):
        worker.start([k], on_item=seen.append, on_end=ended, replace=True)
    job.allowed.release()
    assert worker.wait(10)
    assert seen == [4] and job.closed.is_set()
    assert ended.calls == [(True, None), (False, None)]


def test_an_error_ends_the_job_and_is_raised_by_wait(ended):
    worker = Worker()
    worker.start((1 // k for k in (1, 0, 1)), on_end=ended)
    with pytest.raises(ZeroDivisionError):
        worker.wait(10)
    (stopped, error) = ended.calls[0]
    assert not stopped and isinstance(error, ZeroDivisionError) and worker.wait(0)


def test_an_error_of_a_callback_does_not_hang_the_worker():
    worker = Worker()
    worker.start([1], on_end=lambda stopped, error: {}["missing"])
    with pytest.raises(KeyError):
        worker.wait(10)
    worker.start([1])
    assert worker.wait(10)


@pytest.mark.skipif(sys.platform != "linux" or torch.get_num_threads() < 2, reason="no threads")
def test_the_threads_that_openmp_keeps_are_released():
    def multiply():
        return torch.exp(torch.ones(2**22)).sum().item()

    value, threads = multiply(), len(os.listdir("/proc/self/task"))
    release_idle_threads()
    assert len(os.listdir("/proc/self/task")) < threads
    assert multiply() == value
