"""The training of the restorer: from patches, states and embeddings to an error of the prediction."""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from daclip_lab.data.canvases.source import Canvas, WholePhotos
from daclip_lab.data.canvases.window import PhotoBatch, patches
from daclip_lab.data.training_pairs import Batch, Source
from daclip_lab.diffusion.sde import MeanRevertingSDE
from daclip_lab.errors import InputError
from daclip_lab.models.clip import resize
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.training.devices import evaluation_mode, normal, place
from daclip_lab.training.loop import Training, fit
from daclip_lab.training.photos import photo_embeddings
from daclip_lab.training.recipes import RestorerRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def train_restorer(
    net: nn.Module,
    daclip: DaCLIP | None,
    sde: MeanRevertingSDE,
    source: Source,
    recipe: RestorerRecipe,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    save_every: int = 200,
    accelerator: "Accelerator | None" = None,
) -> Training:
    """Train a restorer, conditioned on the embeddings of a frozen DA-CLIP (DA-CLIP, section 3.2).

    Each example is diffused to a random time, and the network's prediction is compared by `restoration_error`. DA-CLIP
    runs in float32, as it does in `Pipeline.restore`.

    With whole photos as the source the examples are patches, see `RestorerRecipe.patch_sizes`; the embeddings of a
    photo are computed once, when it is made.

    Args:
        net: a `Restorer`, trained in place.
        daclip: its weights do not change; where it is on another device, a copy is used. None trains without
            embeddings, unless the examples of the source have their own (`Example.embeddings`).
        run, resume, save_every, accelerator: see `loop.fit`, also for what is raised.

    Metrics: `loss_at_t_max`, the mean error of the examples at t = T, where there are any.

    Raises InputError also for patches that are larger than the smallest canvas.
    """
    net.train().requires_grad_(True)
    device = place(net, accelerator)
    if device.type == "cuda":
        net.to(memory_format=torch.channels_last)
    if daclip is not None and next(daclip.parameters()).device != device:
        daclip = copy.deepcopy(daclip).to(device)
    sizes, numbers, feed = _patches(source, recipe, daclip)

    @torch.no_grad()
    def embed(images: Batch | Sequence[Canvas]) -> Tensor:
        """Content and degradation embeddings (b, 2, d) of crops by themselves, or of whole canvases."""
        assert daclip is not None
        unnormalized = net.uses_unnormalized_embeddings
        with torch.autocast(device.type, enabled=False), evaluation_mode(daclip):
            if isinstance(images, Batch):
                crops = resize(images.degraded, daclip.clip.config.image_size)
                return torch.stack(daclip.encode_image(crops, normalize=not unnormalized), 1)
            return photo_embeddings(daclip, images, unnormalized=unnormalized)

    def loss(batch: Batch | PhotoBatch, generator: torch.Generator) -> tuple[Tensor, dict]:
        images = batch if isinstance(batch, Batch) else batch.crops
        if images is not None:
            found = images.embeddings
            if found is None and daclip is not None:
                found = embed(images)
        else:
            assert isinstance(batch, PhotoBatch)
            turn = batch.step % len(sizes)
            number = max(1, numbers[turn] // batch.processes)
            drawn = batch.window.draw(batch.step, number, generator)
            clean, degraded = patches(drawn, sizes[turn], generator)
            images = Batch(clean=clean, degraded=degraded, labels=[], captions=[])
            found = drawn.embeddings
        b = len(images.clean)
        t = torch.randint(1, sde.steps + 1, (b,), generator=generator)
        t[torch.rand(b, generator=generator) < recipe.t_max_prob] = sde.steps
        noise = normal(images.clean.shape, generator, device)
        keep = torch.rand(b, generator=generator) >= recipe.conditioning_dropout
        content = degradation = None
        if found is not None:
            wrong = torch.rand(b, generator=generator) < recipe.wrong_conditioning
            others = torch.arange(b).roll(1)
            rows = torch.where(wrong, others, torch.arange(b)).to(device, non_blocking=True)
            shown = found[rows] * keep.to(device, non_blocking=True)[:, None, None]
            content, degradation = shown.unbind(1)
        state = sde.diffuse(images.clean, images.degraded, t, noise)
        conditions = net.prepare(content, degradation)
        prediction = net(state, images.degraded, t.to(device), conditions).float()
        error = restoration_error(net.prediction_type, recipe, sde, prediction, images, state, t)
        last = t == sde.steps
        at_t_max = (error.detach() * last.to(device, non_blocking=True)).sum() / last.sum().item()
        return error.mean(), {"loss_at_t_max": at_t_max} if last.any() else {}

    steps = partial(fit, run=run, resume=resume, save_every=save_every, accelerator=accelerator)
    if daclip is not None and feed:
        feed["embed"] = embed
    return steps(net, loss, source, recipe, captions=False, **feed)


def _patches(
    source: Source, recipe: RestorerRecipe, daclip: DaCLIP | None
) -> tuple[Sequence[int], list[int], dict[str, Any]]:
    """Sizes of the patches in turn, how many of each are a step, and which of them `loop.fit` draws as crops."""
    sizes = recipe.patch_sizes or (recipe.image_size,)
    numbers = [max(1, round(recipe.batch_size * (recipe.image_size / s) ** 2)) for s in sizes]
    if not isinstance(source, WholePhotos):
        return sizes, numbers, {}
    if max(sizes) > (least := min(source.sides)):
        raise InputError(f"patch_sizes={max(sizes)}: wanted at most {least}, the smallest canvas")
    own = daclip.clip.config.image_size if daclip is not None else 0
    crops = [n if size == own else 0 for n, size in zip(numbers, sizes, strict=True)]
    return sizes, numbers, {"crops": crops, "crop_size": own}


def restoration_error(
    prediction_type: str,
    recipe: RestorerRecipe,
    sde: MeanRevertingSDE,
    prediction: Tensor,
    batch: Batch,
    state: Tensor,
    t: Tensor,
) -> Tensor:
    r"""The error of each image of a batch: (b,).

    Objective `"matching"` (IR-SDE, equation 15): the mean absolute distance of the reverse step from t to t - 1 that
    follows from the prediction, $x_t - \mathrm{drift}(x_t, \hat\epsilon)$, to the optimum one, the mean of
    `sde.posterior`.

    Objective `"log_mse"`: $\ell(\hat x_0) + c\,\max(0,\ \ell(\hat x_0) - \ell(\mu))$, with
    $\ell(x) = \ln(\overline{(x - x_0)^2} + 10^{-4})$ and c = `recipe.harm_penalty`. The hinge counts what the output is
    worse than the input, $\mu$.

    Args:
        prediction_type: what the prediction is, "sample" or "epsilon"; it is converted to what the objective needs.
        prediction, state: (b, 3, h, w).
        batch: the clean and degraded images (b, 3, h, w).
        t: the times of the states (b,), int64.
    """
    if recipe.objective == "log_mse":
        clean = prediction
        if prediction_type == "epsilon":
            clean = sde.clean_from_noise(state, batch.degraded, prediction, t)
        error, before = (
            # Beyond 40 dB there is nothing left to gain.
            ((image - batch.clean).square().mean((1, 2, 3)) + 1e-4).log()
            for image in (clean, batch.degraded)
        )
        return error + recipe.harm_penalty * (error - before).relu()
    noise = prediction
    if prediction_type == "sample":
        noise = sde.noise_from_clean(state, batch.degraded, prediction, t)
    step = state - sde.reverse_drift(state, batch.degraded, noise, t)
    optimum, _ = sde.posterior(state, batch.clean, batch.degraded, t, t - 1)
    return (step - optimum).abs().mean((1, 2, 3))
