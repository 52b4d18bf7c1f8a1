"""daclip_lab: learn, train, dissect and extend DA-CLIP, the degradation-aware CLIP (Luo et al., 2310.01018).

The public names are imported when they are first used, so that `import daclip_lab` is quick.
"""

from importlib import import_module

__version__ = "0.2.0"

_EXPORTS = {
    "errors": ("InputError",),
    "degradations.registry": (
        "DEGRADATIONS",
        "LABELS",
        "degradation_names",
        "register_degradation",
    ),
    "degradations.prompt_phrases": ("Words",),
    "data.image_io": ("read_image", "save_image", "to_pil"),
    "data.seeding": ("seeded",),
    "data.photos": ("Photos", "degrade", "image_folder", "sample_photos"),
    "data.captions.attributes": ("caption",),
    "data.training_pairs": ("Batches", "DatasetSource", "Synthetic"),
    "data.canvases.source": ("WholePhotos",),
    "data.embedding_table": ("EmbeddingTable",),
    "models.daclip": ("DaCLIP", "Embeddings"),
    "models.restorer": ("Restorer", "build_restorer", "register_restorer"),
    "models.losses": ("chance", "floor"),
    "diffusion.sde": ("MeanRevertingSDE",),
    "diffusion.samplers": (
        "SAMPLERS",
        "TIMESTEP_SPACINGS",
        "denoiser",
        "euler_maruyama",
        "sample",
        "time_points",
    ),
    "training.presets": ("presets",),
    "training.objectives": ("train_clip", "train_daclip"),
    "training.restoration": ("train_restorer",),
    "metrics.image_quality": ("gradient_similarity", "ms_ssim", "psnr", "ssim"),
    "metrics.bootstrap": ("Estimate", "bootstrap_interval", "estimate_statistic"),
    "metrics.calibration": ("calibration_bins", "expected_calibration_error", "fit_temperature"),
    "pipeline.pipeline": ("Pipeline",),
    "pipeline.loading": ("load",),
    "evaluation.protocol": ("Protocol", "degraded_crops", "mixed_crops"),
    "evaluation.evaluation": ("evaluate",),
    "ablation.study": ("Study", "Variant"),
    "ablation.studies": ("study",),
    "ablation.engine": ("run_study",),
    "ablation.background": ("StudyRunner",),
    "ablation.results": ("StudyResults",),
    "widgets.ablation_explorer": ("AblationExplorer",),
    "widgets.compare": ("CompareSlider",),
    "widgets.controls": ("compared", "controlled"),
    "widgets.embedding_explorer": ("EmbeddingExplorer",),
    "widgets.restoration_lab": ("RestorationLab",),
    "widgets.training_board": ("TrainingBoard",),
    "html_report.page": ("report",),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _EXPORTS.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'daclip_lab' has no attribute {name!r}")
    module = import_module(_MODULES[name])
    return module if name == "presets" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
