"""Worker processes side by side, on cores or on one GPU, as the process that starts them sees them."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

from daclip_lab.ablation.execution.encoding import encode
from daclip_lab.ablation.execution.job import Event, Job, Setup
from daclip_lab.ablation.execution.worker import GRACE
from daclip_lab.errors import InputError

TICK = 0.5
"""Seconds after which `side_by_side` yields None where nothing happens."""


class WorkerProcess:
    """One worker. Its answers come into a queue as (worker, answer); None is the end of the process."""

    def __init__(
        self,
        setup: Setup,
        log: Path,
        answers: "queue.Queue[tuple[WorkerProcess, dict | None]]",
        lock: int | None,
    ):
        self.log = log
        self.job: Job | None = None
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path])),
            "OMP_NUM_THREADS": str(setup.threads or 1),
        }
        # On Windows no descriptor is inherited: there the lock goes with this process.
        inherited = () if lock is None or sys.platform == "win32" else (lock,)
        with log.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daclip_lab.ablation.execution.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                bufsize=1,
                env=environment,
                pass_fds=inherited,
            )
        self._write(encode(setup))
        self._reader = threading.Thread(target=self._read, args=(answers,), daemon=True)
        self._reader.start()

    def start(self, job: Job) -> None:
        """Let it do a run."""
        self.job = job
        self._write({"key": job.key, "trial": encode(job.trial), "seed": job.seed})

    def end_input(self) -> None:
        """Let it end: after the current step, and with a checkpoint."""
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        self.end_input()
        self._reader.join()
        self.process.stdout.close()  # type: ignore[union-attr]

    def last_words(self) -> str:
        """The last line that it wrote to standard error."""
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it left no message"

    def _write(self, content: dict) -> None:
        with suppress(OSError):  # it has ended, which its answers show
            self.process.stdin.write(json.dumps(content) + "\n")  # type: ignore[union-attr]

    def _read(self, answers: "queue.Queue[tuple[WorkerProcess, dict | None]]") -> None:
        for line in self.process.stdout:  # type: ignore[union-attr]
            answers.put((self, json.loads(line)))
        self.process.wait()
        answers.put((self, None))


def side_by_side(
    jobs: list[Job], setup: Setup, number: int, lock: int | None = None
) -> Generator[Event | None, None, None]:
    """Do runs in several worker processes; one that fails, or whose process dies, does not stop the others.

    Yields None now and then where nothing happens. When closed, the workers keep their checkpoints and end.

    `lock` is a file descriptor that they inherit. Raises InputError where a worker cannot start.
    """
    waiting, started = deque(jobs), 0
    answers: queue.Queue[tuple[WorkerProcess, dict | None]] = queue.Queue()
    workers: set[WorkerProcess] = set()
    logs = Path(setup.store) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or workers:
            while len(workers) < min(number, len(waiting) + _busy(workers)):
                workers.add(WorkerProcess(setup, logs / f"worker-{started}.txt", answers, lock))
                started += 1
            try:
                worker, answer = answers.get(timeout=TICK)
            except queue.Empty:
                yield None
                continue
            if answer is None:
                workers.discard(worker)
                worker.close()
                if worker.job is not None:
                    code = f"its process ended with code {worker.process.returncode}"
                    error = f"{code}: {worker.last_words()}"
                    yield Event(worker.job.key, 0.0, done=True, error=error)
                elif worker.process.returncode:
                    raise InputError(f"a worker process could not start: {worker.last_words()}")
                continue
            if fault := answer.get("fault"):
                raise InputError(fault)
            if "key" in answer:
                yield Event(**answer)
            if "ready" in answer or answer.get("done"):
                worker.job = None
                if waiting:
                    job = waiting.popleft()
                    worker.start(job)
                    yield Event(job.key, 0.0)
                else:
                    worker.end_input()
    finally:
        end_all(workers)


def end_all(workers: set[WorkerProcess]) -> None:
    """End all workers, after their checkpoints where these take less than `GRACE` seconds."""
    for worker in workers:
        worker.end_input()
    end = time.monotonic() + GRACE
    for worker in workers:
        try:
            worker.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
        worker.close()


def _busy(workers: set[WorkerProcess]) -> int:
    return sum(worker.job is not None for worker in workers)
