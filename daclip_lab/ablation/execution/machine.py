"""On what a study was run, for its description."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: torch.device) -> dict:
    """The processor, the cores that may be used, and the GPU, if the runs use one."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"processor": _processor(), "cores": cores(), "gpu": gpu, "system": platform.system()}


def versions() -> dict:
    """Versions of what the numbers depend on."""
    packages = {name: version(name) for name in ("torch", "numpy", "open_clip_torch")}
    own = {"python": platform.python_version(), "daclip_lab": version("daclip_lab")}
    return own | packages


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
