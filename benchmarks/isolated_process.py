"""One side of a comparison in a process of its own, so that its peak memory is its own."""

import json
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GB = 1e9


def run_isolated(function: str, **arguments) -> dict:
    """Call `module.function` of this folder in a fresh process; returns its result, a dict, and the `peak` in GB."""
    command = [sys.executable, "-m", "benchmarks.isolated_process", function, json.dumps(arguments)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    run = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        raise SystemExit(f"benchmarks: {function} {arguments} ended with code {run.returncode}")
    return json.loads(run.stdout.splitlines()[-1])


def resident() -> float:
    """Memory that this process holds now, in GB."""
    return _memory("VmRSS")


def peak() -> float:
    """The most memory that this process has held, in GB."""
    return _memory("VmHWM")


def _memory(field: str) -> float:
    # getrusage alone would count the parent in: a new program inherits the peak of the process that started it.
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines[field].split()[0]) * 1024 / GB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GB


if __name__ == "__main__":
    module, name = sys.argv[1].split(".")
    result = getattr(import_module(f"benchmarks.{module}"), name)(**json.loads(sys.argv[2]))
    print(json.dumps(result | {"peak": peak()}))
