"""daclip_lab: learn, train, dissect and extend DA-CLIP, the degradation-aware CLIP (Luo et al., 2310.01018).

The public names are imported when they are first used, so that `import daclip_lab` is quick.
"""

from importlib import import_module

__version__ = "0.2.0"

_HOME = {
    "DaCLIP": "daclip_lab.models.daclip",
    "EmbeddingTable": "daclip_lab.data.embedding_table",
    "InputError": "daclip_lab.errors",
    "DEGRADATIONS": "daclip_lab.degradations.registry",
    "LABELS": "daclip_lab.degradations.registry",
    "Pipeline": "daclip_lab.pipeline.pipeline",
    "sample_photos": "daclip_lab.data.photos",
    "degrade": "daclip_lab.pipeline.pipeline",
    "evaluate": "daclip_lab.evaluation.evaluation",
    "image_folder": "daclip_lab.data.photos",
    "load": "daclip_lab.pipeline.pipeline",
    "presets": "daclip_lab.training.presets",
    "report": "daclip_lab.html_report.page",
    "train_clip": "daclip_lab.training.objectives",
    "train_daclip": "daclip_lab.training.objectives",
    "train_restorer": "daclip_lab.training.objectives",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'daclip_lab' has no attribute {name!r}")
    module = import_module(_HOME[name])
    return module if _HOME[name].endswith(f".{name}") else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
