"""A process that does runs of a study, one after the other: `python -m daclip_lab.ablation.execution.worker`.

It reads JSON lines: first a `Setup`, then runs. It answers with JSON lines: "ready", shares, ends. It ends when its
input does, as it does when the process that started it is killed; in the middle of a run it keeps a checkpoint first.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import closing
from pathlib import Path
from typing import TextIO

from daclip_lab.ablation.execution.encoding import decode
from daclip_lab.ablation.execution.job import Job, Setup, execute, in_words
from daclip_lab.ablation.execution.store import Store

GRACE = 60.0
"""Seconds for the checkpoint after the end of the input; a process that takes longer ends without one."""
REPORT_SECONDS = 0.3
"""A share is reported after so many seconds."""


class Ended(Exception):
    """The input has ended, or nobody reads the output."""


def read_lines(source: TextIO, lines: "queue.Queue[dict | None]", ended: threading.Event) -> None:
    """Read JSON lines until the input ends; then the process has `GRACE` seconds."""
    for line in source:
        lines.put(json.loads(line))
    ended.set()
    lines.put(None)
    time.sleep(GRACE)
    os._exit(1)


def main() -> None:
    """Do runs until the input ends."""
    # Ctrl-C reaches all processes of a terminal: the one that started this decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a trial prints does not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    ended = threading.Event()
    lines: queue.Queue[dict | None] = queue.Queue()
    threading.Thread(target=read_lines, args=(sys.stdin, lines, ended), daemon=True).start()

    def answer(**content: object) -> None:
        try:
            answers.write(json.dumps(content) + "\n")
        except OSError:
            raise Ended from None

    if (first := lines.get()) is None:
        return
    setup: Setup = decode(first)
    try:
        if setup.threads:
            import torch

            torch.set_num_threads(setup.threads)
        context, store = setup.context(), Store(Path(setup.store))
        answer(ready=True)
        while (line := lines.get()) is not None:
            try:
                job = Job(line["key"], decode(line["trial"]), line["seed"])
                reported = time.monotonic()
                with closing(execute(job, context, store)) as shares:
                    for share in shares:
                        if ended.is_set():
                            raise Ended
                        if time.monotonic() - reported > REPORT_SECONDS:
                            reported = time.monotonic()
                            answer(key=job.key, share=share)
                answer(key=job.key, share=1.0, done=True)
            except Exception as error:
                if isinstance(error, Ended):
                    raise
                traceback.print_exc()
                answer(key=line["key"], share=0.0, done=True, error=in_words(error))
    except Ended:
        return
    except Exception as error:
        traceback.print_exc()
        answer(fault=in_words(error))


if __name__ == "__main__":
    main()
