"""Public calls move their inputs to where the pipeline lies.

The networks lie on torch's `meta` device, which computes shapes only. Whatever is copied from it to the CPU is replaced
by ones, so that a call can go on; an operation on tensors of two devices fails as it would with CUDA.
"""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from daclip_lab.models.unet import ConditionalUNet
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline

COPIES = {
    Tensor.cpu,
    Tensor.numpy,
    Tensor.tolist,
    Tensor.item,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__, Tensor.index_select, Tensor.copy_, Tensor.to}
INDEXING.add(torch._has_compatible_shallow_copy_type)  # called by `Module.to`


class OnMeta(TorchFunctionMode):
    """Replace copies from the meta device by ones, and refuse operations on tensors of two devices."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.is_meta:
            moved = func is Tensor.to and "cpu" in map(str, (*args[1:], *kwargs.values()))
            if moved or func in COPIES:
                ones = torch.ones(first.shape, dtype=first.dtype)
                return ones if moved else func(ones, *args[1:], **kwargs)
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        for several in (a for a in args if isinstance(a, list | tuple)):  # torch.cat, torch.stack
            tensors += [a for a in several if isinstance(a, Tensor)]
        # As with CUDA, a number on the CPU may meet any device, and so may an index.
        devices = {t.device.type for t in tensors if t.ndim}
        if len(devices) > 1 and func not in INDEXING:
            raise AssertionError(f"{getattr(func, '__name__', func)} got tensors on {devices}")
        return func(*args, **kwargs)


@pytest.fixture(scope="module")
def on_cpu(weights):
    return load(weights)


@pytest.fixture
def on_meta(weights):
    return load(weights).to("meta")


@pytest.fixture
def inputs(on_cpu, photo_folder, tmp_path):
    """What calls are given: all of it on the CPU."""
    from daclip_lab.data.photos import image_folder
    from daclip_lab.evaluation.protocol import Protocol

    photos = image_folder(photo_folder)
    images = [photos[0], photos[1]]
    batch = torch.stack([photo[:, :64, :72] for photo in images])
    return SimpleNamespace(
        photos=photos,
        images=images,
        batch=batch,
        table=on_cpu.embed(batch, clean=batch, metadata={"degradation": ["hazy", "rainy"]}),
        own=on_cpu.encode(batch),
        protocol=Protocol(crop=32, crops=1, mixtures=1),
        folder=tmp_path,
    )


def attribute(pipe, given):
    from daclip_lab.embeddings.attribution import attribute

    attribute(pipe, given.images[0], "hazy", steps=2)


def block_features(pipe, given):
    from daclip_lab.embeddings.layers import block_features

    block_features(pipe.daclip, given.batch[:, :, :32, :32])


def zero_shot(pipe, given):
    from daclip_lab.embeddings.zero_shot import zero_shot_classify

    for prompts in (None, "a {} photo"):
        zero_shot_classify(pipe, given.table, prompts)


def evaluate(pipe, given):
    from daclip_lab.evaluation.evaluation import evaluate

    evaluate(pipe, given.photos, given.protocol)


def calibrate(pipe, given):
    from daclip_lab.evaluation.calibrate import calibrate

    calibrate(pipe, given.photos, crops=1)


def embed_protocol(pipe, given):
    from daclip_lab.evaluation.embed_protocol import embed_protocol

    embed_protocol(pipe, given.photos, given.protocol)


def steering(pipe, given):
    from daclip_lab.ablation.embedding_arithmetic import steering_gains

    steering_gains(pipe, given.batch, given.batch, {"hazy": pipe.word("hazy")}, steps=1)


def condition(pipe, given):
    from daclip_lab.ablation.conditioning import (
        build_eval_set,
        conditioning_gains,
        mask_embeddings,
    )

    eval_set = build_eval_set(given.photos, given.protocol)
    nothing = mask_embeddings(pipe.encode(list(eval_set.degraded)), ())
    conditioning_gains(pipe, eval_set, {"nothing": nothing}, steps=1)


def report(pipe, given):
    from daclip_lab.html_report.page import report

    images = [given.batch[k % 2, :, :40, k : k + 40] for k in range(12)]
    report(pipe, images, given.folder / "page.html")


CALLS = {
    "classify": lambda pipe, given: pipe.classify(given.images),
    "probabilities": lambda pipe, given: pipe.probabilities(given.own.degradation),
    "logits there": lambda pipe, given: pipe.logits(given.own.degradation.to("meta")),
    "word": lambda pipe, given: pipe.word("hazy"),
    "encode": lambda pipe, given: pipe.encode(given.images),
    "encode_all": lambda pipe, given: pipe.encode_all(given.batch),
    "encode_degradation": lambda pipe, given: pipe.encode_degradation(given.images),
    "encode_clip": lambda pipe, given: pipe.encode_clip(given.batch.numpy().transpose(0, 2, 3, 1)),
    "encode_text": lambda pipe, given: pipe.encode_text(["hazy"]),
    "embed": lambda pipe, given: pipe.embed(given.images, clean=given.images),
    "restore": lambda pipe, given: pipe.restore(given.images, steps=3),
    "restore second order": lambda pipe, given: pipe.restore(given.batch, steps=3, sampler="dpmpp-2m-sde"),
    "restore in tiles": lambda pipe, given: pipe.restore(given.batch, tile=32, embed_tiles=True),
    "restore a word": lambda pipe, given: pipe.restore(given.images, degradation="hazy"),
    "restore a vector": lambda pipe, given: pipe.restore(given.images, degradation=given.own.degradation[0]),
    "restore given embeddings": lambda pipe, given: pipe.restore(given.batch, embeddings=given.own),
    "conditioning": lambda pipe, given: pipe.conditioning(given.batch, given.own, "hazy"),
    "fingerprint": lambda pipe, given: pipe.fingerprint,
    "save": lambda pipe, given: pipe.save(given.folder / "saved"),
    "attribute": attribute,
    "block_features": block_features,
    "zero_shot_classify": zero_shot,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "embed_protocol": embed_protocol,
    "steering_gains": steering,
    "conditioning_gains": condition,
    "report": report,
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_call_works_where_the_pipeline_lies(on_meta, inputs, name):
    with OnMeta():
        CALLS[name](on_meta, inputs)


def test_the_paper_restorer_is_conditioned_where_it_lies(on_cpu, inputs):
    """The U-Net also needs the lengths of the images' own embeddings."""
    unet = ConditionalUNet(channels=32, multipliers=(1, 2), embed_dim=32)
    pipe = Pipeline(on_cpu.settings, daclip=copy.deepcopy(on_cpu.daclip), restorer=unet).to("meta")
    with OnMeta():
        for embeddings in (None, inputs.own):
            pipe.restore(inputs.batch, steps=2, embeddings=embeddings)


def test_the_walk_finds_tensors_on_two_devices():
    there, here = torch.ones(2, 2, device="meta"), torch.ones(2, 2)
    with OnMeta():
        for mixed in (lambda: there @ here, lambda: there + here, lambda: torch.cat([here, there])):
            with pytest.raises(AssertionError, match="meta"):
                mixed()
        assert (there.cpu() + here).sum() == 8
        there[here.bool()[0]]
