"""Jupyter widgets, imported when they are first used.

Each stays alive while it works, since long work runs in a thread of its own, and leaves a static copy where no kernel
runs.
"""

from importlib import import_module

_HOME = {
    "AblationExplorer": "ablation_explorer",
    "CompareSlider": "compare",
    "EmbeddingExplorer": "embedding_explorer",
    "RestorationLab": "restoration_lab",
    "TrainingBoard": "training_board",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'daclip_lab.widgets' has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
