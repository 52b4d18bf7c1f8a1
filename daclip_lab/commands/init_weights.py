"""Initial weights of a training: those of a folder, a pretrained CLIP, or random ones."""

from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.pipeline.serialization import Settings
from daclip_lab.training.presets import Scale


def settings_of(scale: Scale) -> Settings:
    """The settings of weights that are trained at a scale."""
    return Settings(
        clip=scale.clip,
        network=scale.network,
        sde=scale.sde,
        view=scale.view,
        steps=scale.steps,
        synonyms=scale.daclip.synonyms,
    )


def starting_weights(weights: str | None, scale: Scale) -> Pipeline:
    """The pipeline that --weights names.

    weights: "pretrained" is the scale's CLIP, downloaded where it is not on this machine; "random" is a DA-CLIP with
    random weights; anything else is for `load`; None is "lab", or the scale's CLIP if it is on this machine.
    """
    if weights == "random":
        return Pipeline(settings_of(scale), daclip=DaCLIP(scale.build_clip()))
    if weights == "pretrained" and scale.pretrained is None:
        raise InputError(f"the {scale.name} scale has no pretrained CLIP: name a folder, or 'lab'")
    if weights == "pretrained" or (weights is None and scale.pretrained is not None):
        return Pipeline(settings_of(scale), clip=pretrained_clip(scale, weights is not None))
    return load(weights or "lab")


def pretrained_clip(scale: Scale, download: bool) -> Clip:
    """The CLIP that `scale.pretrained` names, from the cache that open_clip fills; it is fetched only on `download`."""
    import open_clip
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    name, tag = scale.pretrained  # type: ignore[misc]  # callers have checked that there is one
    config = open_clip.get_pretrained_cfg(name, tag)
    kept = (
        try_to_load_from_cache(config["hf_hub"].rstrip("/"), file)
        for file in (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    )
    file = next((path for path in kept if isinstance(path, str)), None)
    if file is None and not download:
        raise InputError(
            f"the pretrained {name} ({tag}) is not on this machine: --weights pretrained downloads it; "
            "a folder takes weights that you have; 'random' is for trying out"
        )
    try:
        file = file or open_clip.download_pretrained(config)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"the pretrained {name} ({tag}) cannot be downloaded: {reason}") from None
    clip = scale.build_clip()
    open_clip.load_checkpoint(clip.model, file)
    return clip
