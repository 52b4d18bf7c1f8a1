"""daclip_lab: learn, train, dissect and extend DA-CLIP, the degradation-aware CLIP (Luo et al., 2310.01018).

The public names are imported when they are first used, so that `import daclip_lab` is quick.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "DaCLIP": "daclip_lab.models.daclip",
    "EmbeddingTable": "daclip_lab.data.tables",
    "InputError": "daclip_lab.errors",
    "NAMES": "daclip_lab.data.degradations",
    "LABELS": "daclip_lab.data.datasets",
    "Pipeline": "daclip_lab.pipeline",
    "bundled": "daclip_lab.data.photos",
    "degrade": "daclip_lab.pipeline",
    "evaluate": "daclip_lab.analysis.evaluation",
    "folder": "daclip_lab.data.photos",
    "load": "daclip_lab.pipeline",
    "presets": None,
    "report": "daclip_lab.viz.report_page",
    "train_clip": "daclip_lab.training",
    "train_daclip": "daclip_lab.training",
    "train_restorer": "daclip_lab.training",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'daclip_lab' has no attribute {name!r}")
    room = _HOME[name]
    return (
        import_module(f"daclip_lab.{name}") if room is None else getattr(import_module(room), name)
    )


def __dir__() -> list[str]:
    return __all__
