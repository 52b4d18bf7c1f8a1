"""The pipeline: classify, embed and restore images with DA-CLIP and the restorer that it conditions."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from daclip_lab.data.seeding import seeded
from daclip_lab.diffusion.samplers import SAMPLERS, SampleStep, denoiser, sample
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.diffusion.tiling import Tiled, in_tiles
from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.pipeline import inputs, serialization
from daclip_lab.pipeline.encoder import Encoder
from daclip_lab.pipeline.inputs import Images
from daclip_lab.pipeline.running import HALVES, evaluation_mode, running
from daclip_lab.pipeline.serialization import Settings
from daclip_lab.training.devices import has_bf16


class Pipeline(Encoder):
    """DA-CLIP, which classifies and embeds images (see `Encoder`), and the restorer that it conditions."""

    def __init__(
        self,
        settings: Settings,
        *,
        clip: Clip | None = None,
        daclip: DaCLIP | None = None,
        restorer: nn.Module | None = None,
    ):
        super().__init__(settings, clip=clip, daclip=daclip)
        self.restorer = restorer
        self.sde = MeanRevertingSDE(**settings.sde)

    @property
    def _parts(self) -> dict[str, nn.Module]:
        restorer = {} if self.restorer is None else {"restorer": self.restorer}
        return super()._parts | restorer

    def restore(
        self,
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
    ):
        """Restore one image, or several, of at least 16x16 pixels each; several of one size run as a batch.

        To restore many images of one size, compile the network first: `pipe.restorer.compile()`.

        Args:
            steps, sampler, timestep_spacing, tile, embed_tiles, degradation, embeddings: see `trajectory`.
            seed: image k gets its noise from `seed` + k, or from the k-th of a list of seeds: a result does not depend
                on the other images.
            output_type: "pil"; "pt" for float32 tensors (3, h, w); "np" for float32 arrays (h, w, 3); in [0, 1].
            progress: show a bar when it takes longer than two seconds.

        Returns an image of the same size, or a list of them. Raises InputError for an argument that cannot be used.
        """
        images, several = inputs.as_list(images)
        seeds = inputs.seeds_of(seed, len(images))
        if output_type not in inputs.OUTPUT_TYPES:
            raise InputError(f"output_type={output_type!r}: use one of {inputs.OUTPUT_TYPES}")
        if embeddings is not None and any(len(e) != len(images) for e in embeddings):
            raise InputError(
                f"{len(embeddings[0])} embeddings for {len(images)} images: wanted one for each"
            )
        restored = [None] * len(images)
        total = len(images) * (steps or self.settings.steps)
        with tqdm(
            None, "restoring", total, unit="step", leave=False, delay=2, disable=not progress
        ) as bar:
            for places, batch in inputs.equal_sizes(images):
                path = self.trajectory(
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
                    restored[k] = inputs.as_output(image, output_type)
        return restored if several else restored[0]

    def trajectory(
        self,
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
            embed_tiles: condition each tile on its own embeddings instead of those of the whole image, for damage that
                is not the same everywhere. Colours may then differ between tiles.
            degradation: what to remove instead of what DA-CLIP sees: words, or an embedding (d,). The content stays the
                image's own. `ablation.embedding_arithmetic` measures whether the restorer follows.
            embeddings: (b, d) each, used instead of the images' own, see `conditioning`.
        """
        restorer = self.require_restorer()
        if sampler not in SAMPLERS:
            raise InputError(f"sampler {sampler!r} is unknown: use one of {', '.join(SAMPLERS)}")
        steps = self.settings.steps if steps is None else steps
        inputs.whole_number("steps", steps, 1, self.sde.steps)
        if tile is not None:
            inputs.whole_number("tile", tile)
        seeds = inputs.seeds_of(seed, len(degraded))
        height, width = degraded.shape[-2:]
        net: Any = in_tiles(restorer, height, width, tile)
        options = {"steps": steps, "timestep_spacing": timestep_spacing, **SAMPLERS[sampler]}
        by_tile = embed_tiles and embeddings is None and self.daclip and isinstance(net, Tiled)

        @torch.inference_mode()
        def path() -> Iterator[SampleStep]:
            if by_tile:
                conditions = [
                    self.conditions(part, None, degradation) for part in net.cut(degraded)
                ]
            else:
                conditions = self.conditions(degraded, embeddings, degradation)
            images = degraded.to(self.device)
            half = torch.bfloat16 if has_bf16(images.device) else None
            dtype = self.dtype if self.dtype in HALVES else half
            predict = denoiser(net, self.sde, images, conditions, dtype=dtype)

            def evaluated(state: Tensor, t: int) -> Tensor:
                with evaluation_mode(restorer):
                    return predict(state, t)

            yield from sample(
                evaluated, self.sde, images, generator=[seeded(s) for s in seeds], **options
            )

        return path()

    @torch.inference_mode()
    def conditions(self, degraded: Tensor, embeddings: Embeddings | None = None, degradation=None):
        """What the restorer's `prepare` computes from `conditioning` for a batch (b, 3, h, w), once for all steps."""
        given = self.conditioning(degraded, embeddings, degradation)
        restorer = self.require_restorer()
        with running(restorer):
            return restorer.prepare(*(e if e is None else e.to(self.device) for e in given))

    @torch.inference_mode()
    def conditioning(self, images, embeddings: Embeddings | None = None, degradation=None):
        """The embeddings (n, d) that the restorer is conditioned on for n images, on the pipeline's device.

        They are the images' own, or `embeddings`, with `degradation` (words, or an embedding (d,)) in the place of the
        degradation embedding. A restorer that `uses_unnormalized_embeddings` (the paper's U-Net) gets them at the
        lengths that the controlled CLIP gives to the images' own; the lab's restorer gets unit vectors.
        """
        if self.daclip is None:
            return embeddings or (None, None)
        unnormalized = self.require_restorer().uses_unnormalized_embeddings
        if embeddings is None or unnormalized:
            encode = partial(self.daclip.encode_image, normalize=not unnormalized)
            own = Embeddings(*self._encoded(images, encode, normalize=not unnormalized))
        chosen = own if embeddings is None else Embeddings(*(e.to(self.device) for e in embeddings))
        if degradation is not None:
            vectors = self._vector(degradation).expand(len(chosen.content), -1)
            chosen = Embeddings(chosen.content, vectors)
        return chosen.rescaled_like(own) if unnormalized and chosen is not own else chosen

    def _vector(self, degradation: str | Sequence[float] | Tensor) -> Tensor:
        """The degradation embedding (d,) that words or numbers stand for, on the pipeline's device."""
        if isinstance(degradation, str):
            return self.word(degradation).to(self.device)
        vector, d = torch.as_tensor(degradation, dtype=torch.float32), self.settings.clip.embed_dim
        if vector.shape != (d,):
            raise InputError(f"degradation: {tuple(vector.shape)}, wanted words or ({d},)")
        return vector.to(self.device)

    def require_restorer(self) -> Any:
        """The restorer, a module that is a `Restorer`; InputError for weights without one."""
        if self.restorer is None:
            raise InputError("these weights hold no restorer: load some that do, such as 'lab'")
        return self.restorer

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write the pipeline into a folder; `half` stores the weights in float16, at half the size."""
        weights = serialization.tensors_of(self.clip, self.daclip, self.restorer, half=half)
        serialization.write_folder(folder, self.settings, weights)

    def save_settings(self, folder: str | Path) -> None:
        """Write `pipeline.json` alone."""
        serialization.write_settings(folder, self.settings)
