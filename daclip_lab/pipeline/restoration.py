"""The methods of `Pipeline` that restore images, as functions whose first argument is the pipeline."""

from collections.abc import Iterator, Sequence
from functools import partial
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from daclip_lab.data.image_io import ImageLike, read_image, to_pil
from daclip_lab.data.seeding import seeded
from daclip_lab.diffusion.samplers import SAMPLERS, SampleStep, denoiser, sample
from daclip_lab.diffusion.tiling import Tiled, in_tiles
from daclip_lab.errors import InputError
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline.encoding import encode_images
from daclip_lab.pipeline.inputs import Images, as_list, seeds_of, whole_number
from daclip_lab.pipeline.running import HALVES, running
from daclip_lab.training.devices import evaluation_mode, has_bf16

SMALLEST = 16
"""Side in pixels below which nothing is restored."""
BATCH_PIXELS = 2**19
"""Images of one size are restored together up to so many pixels in all."""
OUTPUT_TYPES = ("pil", "pt", "np")


def restore(
    pipe: Any,
    images: Images,
    *,
    steps: int | None = None,
    sampler: str = "posterior",
    timestep_spacing: str = "linspace",
    seed: int | Sequence[int] = 0,
    tile: int | None = None,
    embed_tiles: bool = False,
    degradation: str | Sequence[float] | Tensor | None = None,
    embeddings: Embeddings | None = None,
    output_type: str = "pil",
    progress: bool = True,
) -> Any:
    """Restore one image, or several, of at least 16x16 pixels each; several of one size run as a batch.

    To restore many images of one size, compile the network first: `pipe.restorer.compile()`.

    Args:
        steps, sampler, timestep_spacing, tile, embed_tiles, degradation, embeddings: see `trajectory`.
        seed: image k gets its noise from `seed` + k, or from the k-th of a list of seeds: a result does not depend on
            the other images.
        output_type: "pil"; "pt" for float32 tensors (3, h, w); "np" for float32 arrays (h, w, 3); in [0, 1].
        progress: show a bar when it takes longer than two seconds.

    Returns an image of the same size, or a list of them. Raises InputError for an argument that cannot be used.
    """
    images, several = as_list(images)
    seeds = seeds_of(seed, len(images))
    if output_type not in OUTPUT_TYPES:
        raise InputError(f"output_type={output_type!r}: use one of {OUTPUT_TYPES}")
    if embeddings is not None and any(len(e) != len(images) for e in embeddings):
        given = f"{len(embeddings[0])} embeddings for {len(images)} images"
        raise InputError(f"{given}: wanted one for each")
    restored = [None] * len(images)
    total = len(images) * (steps or pipe.settings.steps)
    with tqdm(
        None, "restoring", total, unit="step", leave=False, delay=2, disable=not progress
    ) as bar:
        for places, batch in equal_sizes(images):
            path = pipe.trajectory(
                batch,
                steps=steps,
                sampler=sampler,
                timestep_spacing=timestep_spacing,
                seed=[seeds[k] for k in places],
                tile=tile,
                embed_tiles=embed_tiles,
                degradation=degradation,
                embeddings=embeddings and Embeddings(*(e[places] for e in embeddings)),
            )
            for step in path:  # all states of a large photo would not fit into memory
                state = step.state
                bar.update(len(places))
            for k, image in zip(places, state, strict=True):
                restored[k] = as_output(image, output_type)
    return restored if several else restored[0]


def trajectory(
    pipe: Any,
    degraded: Tensor,
    *,
    steps: int | None = None,
    sampler: str = "posterior",
    timestep_spacing: str = "linspace",
    seed: int | Sequence[int] = 0,
    tile: int | None = None,
    embed_tiles: bool = False,
    degradation: str | Sequence[float] | Tensor | None = None,
    embeddings: Embeddings | None = None,
) -> Iterator[SampleStep]:
    """Restore a batch (b, 3, h, w) in [0, 1] step by step: yields a `SampleStep` each, on the pipeline's device.

    The network computes in bfloat16 where the processor has it, or in the number format of its weights.

    Args:
        steps: calls of the network, 1 to T; None takes `settings.steps`.
        sampler: one of `diffusion.samplers.SAMPLERS`.
        timestep_spacing: how the times of the steps are spread, see `diffusion.samplers.time_points`.
        seed: image k gets its noise from `seed` + k, or from the k-th of a list of seeds.
        tile: side in pixels of the tiles that the network sees, 0 for none; None tiles large images only, see
            `diffusion.tiling`.
        embed_tiles: condition each tile on its own embeddings instead of those of the whole image, for damage that is
            not the same everywhere. Colours may then differ between tiles.
        degradation, embeddings: condition on these instead of the images' own embeddings, see `conditioning`;
            `ablation.embedding_arithmetic` measures whether the restorer follows.

    Raises InputError for an argument that cannot be used, before the first step.
    """
    restorer, sde, device = pipe.require_restorer(), pipe.sde, pipe.device
    if sampler not in SAMPLERS:
        raise InputError(f"sampler {sampler!r} is unknown: use one of {', '.join(SAMPLERS)}")
    steps = whole_number("steps", pipe.settings.steps if steps is None else steps, 1, sde.steps)
    if tile is not None:
        whole_number("tile", tile)
    generators = [seeded(each) for each in seeds_of(seed, len(degraded))]
    height, width = degraded.shape[-2:]
    net: Any = in_tiles(restorer, height, width, tile)
    by_tile = embed_tiles and embeddings is None and pipe.daclip and isinstance(net, Tiled)

    def conditions(images: Tensor) -> Any:
        given = pipe.conditioning(images, embeddings, degradation)
        with running(restorer):
            return restorer.prepare(*given)

    @torch.inference_mode()
    def path() -> Iterator[SampleStep]:
        prepared = list(map(conditions, net.cut(degraded))) if by_tile else conditions(degraded)
        images = degraded.to(device)
        half = torch.bfloat16 if has_bf16(device) else None
        dtype = pipe.dtype if pipe.dtype in HALVES else half
        predict = denoiser(net, sde, images, prepared, dtype=dtype)

        def predict_clean(state: Tensor, t: int) -> Tensor:
            with evaluation_mode(restorer):  # between two steps a training may go on
                return predict(state, t)

        options = {"steps": steps, "timestep_spacing": timestep_spacing, **SAMPLERS[sampler]}
        yield from sample(predict_clean, sde, images, generator=generators, **options)

    return path()


@torch.inference_mode()
def conditioning(
    pipe: Any,
    images: Images,
    embeddings: Embeddings | None = None,
    degradation: str | Sequence[float] | Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """The embeddings (n, d) that the restorer is conditioned on for n images, on the pipeline's device.

    They are the images' own or the given `embeddings`, (n, d) each, with `degradation` (words, or an embedding (d,)) in
    the place of the degradation embedding. A restorer that `uses_unnormalized_embeddings` (the paper's U-Net) gets them
    at the lengths that the controlled CLIP gives to the images' own, others as unit vectors. Without a DA-CLIP they are
    `embeddings`, or None.
    """
    place = partial(torch.as_tensor, dtype=torch.float32, device=pipe.device)
    if pipe.daclip is None:
        return (None, None) if embeddings is None else Embeddings(*map(place, embeddings))
    unnormalized = pipe.require_restorer().uses_unnormalized_embeddings
    if embeddings is None or unnormalized:
        listed, _ = as_list(images)

        def encode(views: Tensor) -> dict[str, Tensor]:
            return pipe.daclip.encode_image(views, normalize=False)._asdict()

        seen = encode_images(pipe.daclip, pipe.settings, listed, encode, normalize=not unnormalized)
        own = Embeddings(**seen)
    chosen = own if embeddings is None else Embeddings(*map(place, embeddings))
    if degradation is not None:
        vector = place(pipe.word(degradation) if isinstance(degradation, str) else degradation)
        if vector.shape != chosen.degradation.shape[1:]:
            wanted = f"wanted words or ({chosen.degradation.shape[1]},)"
            raise InputError(f"degradation: {tuple(vector.shape)}, {wanted}")
        chosen = chosen._replace(degradation=vector.expand_as(chosen.degradation))
    return chosen.rescaled_like(own) if unnormalized and chosen is not own else chosen


def equal_sizes(images: Sequence[ImageLike]) -> Iterator[tuple[list[int], Tensor]]:
    """Batches (b, 3, h, w) of images of one size, of at most `BATCH_PIXELS`, each with the places of its images.

    An image is read when its turn comes, so that a long list of large files fits into memory. Raises InputError for an
    image that is too small.
    """
    waiting: dict[tuple, dict[int, Tensor]] = {}
    for place, image in enumerate(images):
        pixels = read_image(image)
        h, w = pixels.shape[-2:]
        if min(h, w) < SMALLEST:
            name = image if isinstance(image, str | PathLike) else f"image {place}"
            wanted = f"wanted at least {SMALLEST}x{SMALLEST}"
            raise InputError(f"{name}: {w}x{h} pixels are too few: {wanted}")
        batch = waiting.setdefault((h, w), {})
        batch[place] = pixels
        if (len(batch) + 1) * h * w > BATCH_PIXELS:
            del waiting[h, w]
            yield list(batch), torch.stack(list(batch.values()))
    for batch in waiting.values():
        yield list(batch), torch.stack(list(batch.values()))


def as_output(image: Tensor, output_type: str) -> Any:
    """A restored image (3, h, w) as one of `OUTPUT_TYPES`."""
    image = image.clamp(0, 1).cpu()
    if output_type == "pil":
        return to_pil(image)
    return image.clone() if output_type == "pt" else image.permute(1, 2, 0).contiguous().numpy()
