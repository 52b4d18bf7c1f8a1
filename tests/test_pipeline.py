"""The front door names, embeds and restores any image, and refuses clearly what it cannot use."""

import dataclasses
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import daclip_lab
from daclip_lab.commands.init_weights import settings_of
from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.degradations.registry import LABELS
from daclip_lab.diffusion.samplers import SAMPLERS
from daclip_lab.errors import InputError
from daclip_lab.models.daclip import DaCLIP, Embeddings
from daclip_lab.pipeline import loading
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.pipeline.serialization import read_folder, write_folder


def image(h, w, seed=0):
    return torch.rand(3, h, w, generator=torch.Generator().manual_seed(seed))


def pixels(picture):
    return np.asarray(picture)


def refusal(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=["float32", "bfloat16"])
def tolerance(request, monkeypatch):
    """How far equal computations may differ, in both formats that a restorer of float32 weights computes in."""
    half = request.param == "bfloat16"
    monkeypatch.setattr("daclip_lab.pipeline.restoration.has_bf16", lambda _: half)
    return {"atol": 2e-2 if half else 1e-5, "rtol": 0}


# ---- naming and embedding ----


def test_one_image_gives_a_series_over_eleven_names(pipe, photo):
    answer = pipe.classify(photo)
    assert isinstance(answer, pd.Series)
    assert tuple(answer.index) == LABELS
    assert (answer >= 0).all()
    assert answer.sum() == pytest.approx(1, abs=1e-6)


def test_a_list_gives_a_row_for_each(pipe, photo):
    answer = pipe.classify([photo, image(40, 50)])
    assert isinstance(answer, pd.DataFrame)
    assert tuple(answer.columns) == LABELS
    assert answer.shape == (2, 11)
    np.testing.assert_allclose(answer.iloc[1], pipe.classify(image(40, 50)), atol=1e-5)


def test_every_kind_of_image_gets_the_same_answer(pipe, photo_folder):
    path = photo_folder / "face.png"
    picture = Image.open(path)
    answers = [
        pipe.classify(each)
        for each in (path, str(path), picture, np.asarray(picture), read_image(path))
    ]
    for answer in answers[1:]:
        pd.testing.assert_series_equal(answer, answers[0])


def test_the_temperature_only_sharpens(weights, photo):
    settings = json.loads((weights / "pipeline.json").read_text())
    assert settings["temperature"] == 1.0
    pipe = load(weights)
    plain = pipe.classify(photo)
    object.__setattr__(pipe.settings, "temperature", 4.0)
    soft = pipe.classify(photo)
    assert list(soft.sort_values().index) == list(plain.sort_values().index)
    np.testing.assert_allclose(soft, plain**0.25 / (plain**0.25).sum(), atol=1e-5)


def test_synonyms_average_all_training_phrasings(weights):
    from daclip_lab.data.prompts import training_texts

    pipe = load(weights)
    with torch.no_grad():
        rows = pipe.daclip.encode_text(training_texts("hazy"))
        torch.testing.assert_close(
            pipe.word_embeddings[1], torch.nn.functional.normalize(rows.mean(0), dim=0)
        )
        pipe = load(weights)
        object.__setattr__(pipe.settings, "synonyms", False)
        torch.testing.assert_close(pipe.word_embeddings[1], pipe.daclip.encode_text(["hazy"])[0])


def test_an_embedding_table_has_a_row_per_image(pipe, photo_folder, photo):
    path = photo_folder / "cup.png"
    table = pipe.embed([path, photo])
    assert list(table.rows.image) == [str(path), "image 1"]
    for embedding in (table.content, table.degradation):
        assert embedding.shape == (2, 32)
        np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
    assert pipe.embed(photo).content.shape == (1, 32)
    np.testing.assert_allclose(pipe.embed(photo).degradation[0], table.degradation[1], atol=1e-5)


@pytest.mark.parametrize("max_crops", [4, 48])
def test_the_content_is_the_mean_over_the_views_and_the_degradation_is_pooled(
    pipe, photo, max_crops
):
    from daclip_lab.models.clip import views

    pipe.settings = replace(pipe.settings, max_crops=max_crops)
    with torch.no_grad():
        pipe.daclip.controller.pooling.score.mul_(30)
        seen = views(photo, 32, "both", max_crops)
        assert len(seen) == 1 + min(9, max_crops)
        each = pipe.daclip.encode_image(seen)
        features = pipe.daclip.encode_image(seen, normalize=False).degradation
        pooled = pipe.daclip.controller.pooling(features)
    content, degradation = pipe.encode([photo, photo.flip(-1)])
    wanted = torch.nn.functional.normalize(each.content.mean(0), dim=0)
    torch.testing.assert_close(content[0], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(degradation[0], pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pipe.encode_degradation([photo]), degradation[:1])
    # The weights of this pipeline are random: it is not the mean.
    assert (
        degradation[0] - torch.nn.functional.normalize(each.degradation.mean(0), dim=0)
    ).norm() > 1e-3


def test_a_bias_moves_the_probability_of_clean_alone(pipe, photo):
    plain = pipe.classify(photo)
    pipe.settings = replace(pipe.settings, clean_bias=1.5)
    odds = pipe.classify(photo) / plain
    np.testing.assert_allclose(odds["clean"] / odds.drop("clean"), np.exp(1.5), rtol=1e-4)


def test_a_front_end_is_stored_folded_with_a_controller_and_as_it_is_without(
    scale, tmp_path, photo
):
    clip = scale.build_clip(seed=1).train()
    clip.encode_image(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    alone = Pipeline(settings_of(scale), clip=clip)
    alone.save(tmp_path / "clip")
    again = load(tmp_path / "clip").clip
    assert again.state_dict().keys() == clip.state_dict().keys()
    whole = Pipeline(settings_of(scale), daclip=DaCLIP(again))
    whole.save(tmp_path / "both")
    assert again.state_dict().keys() == clip.state_dict().keys()  # saving changes nothing
    folded = load(tmp_path / "both")
    assert not any("running_var" in name for name in folded.daclip.state_dict())
    for ours, wanted in zip(folded.encode([photo]), whole.encode([photo]), strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)
    folded.save(tmp_path / "twice")
    assert load(tmp_path / "twice").fingerprint == folded.fingerprint


def test_a_controller_without_pooling_takes_the_mean(weights, tmp_path, photo):
    settings, tensors = read_folder(weights)
    tensors["controller"] = {k: t for k, t in tensors["controller"].items() if ".pooling." not in k}
    write_folder(tmp_path / "old", settings, tensors)
    pooling = load(tmp_path / "old").daclip.controller.pooling
    assert not pooling.score.any() and pooling.whole == 0


def test_without_a_controller_embeddings_are_clips(pipe, photo):
    plain = pipe.encode_clip([photo])
    untrained = Pipeline(pipe.settings, daclip=DaCLIP(pipe.clip))
    content, degradation = untrained.encode([photo])
    torch.testing.assert_close(content, plain)
    torch.testing.assert_close(degradation, plain)


def test_a_batch_is_as_many_images(pipe):
    one, two = image(40, 50), image(40, 50, seed=1)
    wanted = pipe.classify([one, two])
    batch = torch.stack([one, two])
    for several in (batch, batch.permute(0, 2, 3, 1).numpy(), (one, two)):
        pd.testing.assert_frame_equal(pipe.classify(several), wanted)
    assert pipe.classify(batch[:1]).shape == (1, 11)
    assert len(pipe.embed(batch)) == 2
    assert [picture.size for picture in pipe.restore(batch, steps=1)] == [(50, 40)] * 2


def test_photos_and_bytes_are_images(pipe, photo_folder):
    photos = daclip_lab.image_folder(photo_folder)
    wanted = pipe.classify(photos.paths)
    pd.testing.assert_frame_equal(pipe.classify(photos), wanted)
    content = photos.paths[0].read_bytes()
    for each in (content, io.BytesIO(content)):
        np.testing.assert_allclose(pipe.classify(each), wanted.iloc[0], atol=1e-6)


def test_no_images_and_iterators_are_refused(pipe, photo):
    for call in (pipe.classify, pipe.embed, pipe.restore, pipe.encode):
        assert "no images" in refusal(call, [])
        assert "pass a list" in refusal(call, (each for each in [photo]))
        assert "https://example.com/a.png" in refusal(call, "https://example.com/a.png")


def test_one_image_embeds_alike_among_many(pipe, photo):
    """More views than the encoder takes at once."""
    many = [image(64, 64, seed=k) for k in range(40)]
    together = pipe.encode([*many, photo])
    for alone, row in zip(pipe.encode(photo), together, strict=True):
        torch.testing.assert_close(row[-1:], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        pipe.encode_degradation(photo), together.degradation[-1:], atol=1e-5, rtol=0
    )


def test_classifying_does_not_run_the_frozen_tower(pipe, photo, monkeypatch):
    def called(*_):
        raise AssertionError("the frozen image tower ran")

    monkeypatch.setattr(pipe.clip.visual.transformer, "forward", called)
    monkeypatch.setattr(pipe.daclip, "encode_image", called)
    assert pipe.classify(photo).sum() == pytest.approx(1)


def test_word_embeddings_follow_settings_and_weights(pipe, photo):
    first = pipe.word_embeddings
    assert torch.equal(pipe.word_embeddings, first)
    pipe.settings = dataclasses.replace(pipe.settings, synonyms=False)
    bare = pipe.word_embeddings
    assert not torch.allclose(bare, first)
    pipe.settings = dataclasses.replace(pipe.settings, labels=("hazy", "rainy"))
    torch.testing.assert_close(pipe.word_embeddings, bare[[1, 6]])
    with torch.no_grad():
        pipe.clip.model.text_projection.mul_(torch.linspace(0, 1, 32))
    assert not torch.allclose(pipe.word_embeddings, bare[[1, 6]])


# ---- restoring ----


@pytest.mark.parametrize(("h", "w"), [(16, 16), (17, 33), (40, 31), (16, 90)])
def test_restoring_keeps_the_size(pipe, h, w):
    restored = pipe.restore(image(h, w), steps=2)
    assert isinstance(restored, Image.Image)
    assert restored.mode == "RGB"
    assert restored.size == (w, h)


def test_every_kind_of_image_is_restored_alike(pipe, photo_folder):
    path = photo_folder / "cup.png"
    picture = Image.open(path)
    results = [
        pixels(pipe.restore(each, steps=1))
        for each in (path, str(path), picture, np.asarray(picture), read_image(path))
    ]
    for result in results[1:]:
        assert np.array_equal(result, results[0])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_gives_the_same_image(pipe, sampler):
    def run(seed):
        return pixels(pipe.restore(image(24, 24), steps=3, sampler=sampler, seed=seed))

    before = torch.get_rng_state()
    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))
    assert torch.equal(before, torch.get_rng_state())


def test_steps_default_to_what_the_weights_want(pipe):
    def run(**options):
        return pixels(pipe.restore(image(20, 20), **options))

    assert np.array_equal(run(), run(steps=2))
    assert not np.array_equal(run(), run(steps=3))


def test_a_trajectory_can_be_watched_and_steered(pipe):
    degraded = torch.stack([image(20, 20), image(20, 20, seed=1)])
    path = list(pipe.trajectory(degraded, steps=4))
    assert [step.t for step in path] == [75, 50, 25, 0]
    assert all(step.state.shape == degraded.shape for step in path)
    other = pipe.encode([image(20, 20, seed=2)] * 2)
    *_, last = pipe.trajectory(degraded, steps=4, embeddings=other)
    assert not torch.equal(last.state, path[-1].state)


@pytest.mark.parametrize("sampler", ["posterior", "dpmpp-2m-sde"])
def test_an_images_restoration_does_not_depend_on_the_others(pipe, sampler, tolerance):
    many = [image(24, 24), image(24, 30, seed=1), image(24, 24, seed=2), image(24, 24, seed=3)]
    options = {"steps": 3, "sampler": sampler, "output_type": "pt"}
    alone = [pipe.restore(each, seed=5 + k, **options) for k, each in enumerate(many)]
    order = [2, 0, 3, 1]
    for results, wanted in (
        (pipe.restore(many, seed=5, **options), alone),
        (
            pipe.restore([many[k] for k in order], seed=[5 + k for k in order], **options),
            [alone[k] for k in order],
        ),
    ):
        for result, one in zip(results, wanted, strict=True):
            torch.testing.assert_close(result, one, **tolerance)
    batch = torch.stack([many[2], many[0]])
    *_, last = pipe.trajectory(batch, steps=3, sampler=sampler, seed=[7, 5])
    torch.testing.assert_close(last.state[1].clamp(0, 1), alone[0], **tolerance)


def test_images_of_one_size_are_restored_together(pipe, monkeypatch):
    sizes, trajectory = [], pipe.trajectory
    monkeypatch.setattr(
        pipe,
        "trajectory",
        lambda batch, **k: (sizes.append(batch.shape), trajectory(batch, **k))[1],
    )
    pipe.restore([image(16, 16), image(20, 16), image(16, 16, 2), *[image(512, 512)] * 3], steps=1)
    assert sorted(map(tuple, sizes)) == [
        (1, 3, 20, 16),
        (1, 3, 512, 512),
        (2, 3, 16, 16),
        (2, 3, 512, 512),
    ]


def test_restored_images_come_in_three_forms(pipe, photo):
    picture, tensor, array = (
        pipe.restore(photo, steps=1, output_type=kind) for kind in ("pil", "pt", "np")
    )
    assert isinstance(picture, Image.Image)
    assert tensor.dtype == torch.float32 and tensor.shape == photo.shape
    assert array.dtype == np.float32 and array.shape == (72, 80, 3)
    assert np.array_equal(tensor.permute(1, 2, 0), array)
    assert array.min() >= 0 and array.max() <= 1
    assert np.array_equal(pixels(to_pil(tensor)), pixels(picture))
    assert "'jpg'" in refusal(pipe.restore, photo, output_type="jpg")


def test_the_degradation_to_remove_can_be_given(pipe, photo):
    other = pipe.embed([image(40, 40)]).degradation[0]
    by_array = pipe.restore(photo, steps=1, degradation=other)
    assert np.array_equal(
        pixels(by_array), pixels(pipe.restore(photo, steps=1, degradation=torch.tensor(other)))
    )
    assert not np.array_equal(pixels(by_array), pixels(pipe.restore(photo, steps=1)))
    several = pipe.restore([photo, photo[:, :40]], steps=1, degradation="hazy")
    assert np.array_equal(
        pixels(several[0]), pixels(pipe.restore(photo, steps=1, degradation="hazy"))
    )
    assert "holds no words" in refusal(pipe.restore, photo, degradation="")
    message = refusal(pipe.restore, photo, degradation="hazzy weather")
    assert "'hazzy'" in message and "hazy" in message
    assert "(3,)" in refusal(pipe.restore, photo, degradation=[0.1, 0.2, 0.3])


def test_embeddings_can_be_given_for_each_image(pipe, tolerance):
    many, others = [image(24, 24), image(30, 24)], pipe.encode([image(32, 32), image(32, 40)])
    together = pipe.restore(many, steps=2, embeddings=others, output_type="pt")
    for k, each in enumerate(many):
        rows = Embeddings(*(e[[k]] for e in others))
        alone = pipe.restore(each, steps=2, seed=k, embeddings=rows, output_type="pt")
        torch.testing.assert_close(together[k], alone, **tolerance)
    assert "2 embeddings for 1 images" in refusal(pipe.restore, many[0], embeddings=others)


def test_several_threads_share_a_pipeline(pipe):
    def run(k):
        tile = 64 if k % 2 else 0
        restored = pipe.restore(
            image(70, 100, seed=k), steps=2, tile=tile, seed=k, output_type="pt"
        )
        return restored, torch.tensor(pipe.classify(image(40, 40, seed=k)).to_numpy())

    one_by_one = [run(k) for k in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for result, wanted in zip(threads.map(run, range(4)), one_by_one, strict=True):
            for ours, theirs in zip(result, wanted, strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_what_cannot_be_restored_is_refused(pipe):
    assert "15x20 pixels" in refusal(pipe.restore, image(20, 15))
    assert "image 1: 15x15" in refusal(pipe.restore, [image(16, 16), image(15, 15)])
    assert "'ddpm' is unknown" in refusal(pipe.restore, image(16, 16), sampler="ddpm")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", value) for value in (0, 101, "3", 2.5, True)),
        *(("seed", value) for value in (-1, None, 1.5, "0")),
        *(("tile", value) for value in (64.0, "64", -1)),
    ],
)
def test_options_of_the_wrong_kind_are_named(pipe, name, value):
    for call, given in ((pipe.restore, image(16, 16)), (pipe.trajectory, image(16, 16)[None])):
        assert f"{name}={value!r}" in refusal(call, given, **{name: value})


def test_a_misspelt_option_is_restores_own(pipe):
    with pytest.raises(TypeError, match=r"restore\(\).*stpes"):
        pipe.restore(image(16, 16), stpes=3)


def test_parts_that_are_missing_are_named(pipe):
    bare = Pipeline(pipe.settings, clip=pipe.clip)
    assert "no restorer" in refusal(bare.restore, image(16, 16))
    for call in (bare.classify, bare.embed):
        assert "no controller" in refusal(call, image(16, 16))
    assert "no controller" in refusal(bare.probabilities, torch.zeros(1, 32))


def test_a_restorer_works_without_daclip(pipe):
    alone = Pipeline(pipe.settings, restorer=pipe.restorer)
    assert alone.restore(image(20, 18), steps=1).size == (18, 20)


# ---- degrading ----


def test_degrade_is_a_function_of_its_arguments(photo):
    def run(**options):
        return pixels(daclip_lab.degrade(photo, "hazy", **options))

    assert run().shape == (72, 80, 3)
    assert np.array_equal(run(severity=0.5, seed=0), run())
    assert not np.array_equal(run(seed=1), run())
    assert not np.array_equal(run(severity=0.9), run())
    assert np.array_equal(run(severity=0), pixels(to_pil(photo)))
    assert "foggy" in refusal(daclip_lab.degrade, photo, "foggy")
    assert "2" in refusal(daclip_lab.degrade, photo, "hazy", severity=2)


# ---- devices and number formats ----


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same(weights, photo, dtype):
    single, half = load(weights), load(weights, dtype=dtype)
    assert half.dtype == dtype and str(dtype).removeprefix("torch.") in repr(half)
    np.testing.assert_allclose(half.classify(photo), single.classify(photo), atol=0.02)
    ours, theirs = half.embed(photo), single.embed(photo)
    assert ours.content.dtype == np.float32
    np.testing.assert_allclose(ours.content, theirs.content, atol=0.02)
    restored = [pipe.restore(photo, steps=2, output_type="pt") for pipe in (single, half)]
    torch.testing.assert_close(*restored, atol=0.05, rtol=0)
    back = half.to(torch.float32)
    np.testing.assert_allclose(back.classify(photo), single.classify(photo), atol=0.02)


def test_devices_and_formats_that_are_not_there_are_refused(pipe, weights):
    assert "'gpu'" in refusal(pipe.to, "gpu")
    assert "int8" in refusal(pipe.to, torch.int8)
    assert "float64" in refusal(load, weights, dtype=torch.float64)
    if not torch.cuda.is_available():
        assert "'cuda:0'" in refusal(load, weights, device="cuda:0")
    if not torch.backends.mps.is_available():
        assert "'mps'" in refusal(pipe.to, "mps")
    assert pipe.to("cpu") is pipe


def test_a_pipeline_says_what_it_holds(pipe):
    assert repr(pipe).startswith("<Pipeline: DaCLIP")
    for part in ("ConditionalNAFNet", "11 labels", "2 steps", "cpu", "float32"):
        assert part in repr(pipe)
    assert "no networks" in repr(Pipeline(pipe.settings))


def test_a_pipeline_changes_nothing_about_its_modules(scale, weights):
    """Neither when it is built nor when it is used: a training goes on beside it."""
    loaded = load(weights)
    daclip, net = (
        loaded.daclip.train().requires_grad_(True),
        loaded.restorer.train().requires_grad_(True),
    )
    daclip.clip.eval()
    before = [(m, m.training) for part in (daclip, net) for m in part.modules()]
    pipe = Pipeline(loaded.settings, daclip=daclip, restorer=net)
    pipe.classify(image(32, 32))
    pipe.restore(image(32, 32), steps=1)
    pipe.embed(image(32, 32))
    assert all(module.training == mode for module, mode in before)
    assert all(p.requires_grad for part in (daclip, net) for p in part.parameters())

    recipe = dataclasses.replace(scale.restorer, steps=3)
    source = daclip_lab.Synthetic(photos=None)
    pictures = []
    for step in daclip_lab.train_restorer(net, daclip, pipe.sde, source, recipe):
        assert np.isfinite(step.loss)
        pictures.append(pixels(pipe.restore(image(32, 32), steps=1)))
    assert len(pictures) == 3


def test_modules_run_in_evaluation_mode(pipe):
    pipe.restorer.intro = torch.nn.Sequential(pipe.restorer.intro, torch.nn.Dropout(0.9))
    pipe.restorer.train()
    first, second = (pixels(pipe.restore(image(24, 24), steps=2)) for _ in range(2))
    assert np.array_equal(first, second)
    assert pipe.restorer.intro[1].training


def test_a_fingerprint_hashes_every_value(pipe):
    first, provenance = pipe.fingerprint, pipe.provenance["weights"]
    largest = max(pipe.restorer.parameters(), key=lambda p: p.numel())
    with torch.no_grad():
        largest.flatten()[-1] += 1e-3
    assert pipe.fingerprint != first
    assert pipe.provenance["weights"] == provenance  # embeddings do not depend on the restorer


# ---- folders ----


def test_what_was_compiled_is_saved_under_its_own_names(pipe, tmp_path):
    first = pipe.fingerprint
    pipe.restorer = torch.compile(pipe.restorer, backend="eager")
    assert pipe.fingerprint == first
    pipe.save(tmp_path)
    assert load(tmp_path).fingerprint == first


def test_what_is_saved_is_loaded(pipe, tmp_path, photo):
    pipe.save(tmp_path / "new" / "folder")
    again = load(tmp_path / "new" / "folder")
    assert again.settings == pipe.settings
    pd.testing.assert_series_equal(again.classify(photo), pipe.classify(photo))
    assert np.array_equal(pixels(again.restore(photo)), pixels(pipe.restore(photo)))
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "clip.safetensors",
        "controller.safetensors",
        "pipeline.json",
        "restorer.safetensors",
    ]


def test_half_precision_is_half_the_size_and_nearly_the_same(pipe, weights, tmp_path, photo):
    pipe.save(tmp_path, half=True)

    def size(folder, part):
        return (folder / f"{part}.safetensors").stat().st_size

    for part in ("clip", "controller", "restorer"):
        # The header of names does not shrink.
        assert size(tmp_path, part) < 0.65 * size(weights, part)
    again = load(tmp_path)
    assert all(p.dtype == torch.float32 for p in again.restorer.parameters())
    np.testing.assert_allclose(again.classify(photo), pipe.classify(photo), atol=0.01)


def test_saving_fewer_parts_leaves_no_old_ones_behind(pipe, tmp_path):
    pipe.save(tmp_path)
    Pipeline(pipe.settings, clip=pipe.clip).save(tmp_path)
    again = load(tmp_path)
    assert again.daclip is None
    assert again.restorer is None


def test_any_part_can_be_absent(weights, tmp_path, photo):
    shutil.copytree(weights, tmp_path / "w")
    (tmp_path / "w" / "restorer.safetensors").unlink()
    pipe = load(tmp_path / "w")
    assert pipe.restorer is None
    assert pipe.classify(photo).shape == (11,)
    (tmp_path / "w" / "clip.safetensors").unlink()
    assert "no clip.safetensors" in refusal(load, tmp_path / "w")


def test_loading_touches_no_global_randomness(weights):
    before = torch.get_rng_state()
    load(weights)
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_weights_are_refused_with_what_is_shipped(tmp_path, monkeypatch, weights):
    shipped = tmp_path / "shipped"
    shutil.copytree(weights, shipped / "tiny")
    monkeypatch.setattr(loading, "SHIPPED", shipped)
    message = refusal(load, "nothing")
    assert "'nothing'" in message
    assert message.endswith("one of the shipped: tiny")
    assert load("tiny").restorer is not None


def test_a_folder_that_happens_to_have_the_name_of_shipped_weights_is_no_obstacle(
    tmp_path, monkeypatch, weights
):
    shutil.copytree(weights, tmp_path / "shipped" / "tiny")
    monkeypatch.setattr(loading, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "cwd" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    assert load("tiny").restorer is not None


def test_broken_folders_are_refused(weights, tmp_path):
    folder = tmp_path / "w"
    shutil.copytree(weights, folder)
    good = json.loads((folder / "pipeline.json").read_text())

    def with_settings(content):
        (folder / "pipeline.json").write_text(
            content if isinstance(content, str) else json.dumps(content)
        )
        return refusal(load, folder)

    name = str(folder / "pipeline.json")
    assert name in with_settings("{")
    assert name in with_settings([])
    assert "format" in with_settings({**good, "format": 99})
    assert name in with_settings({k: v for k, v in good.items() if k != "clip"})
    assert "flavour" in with_settings({**good, "flavour": "sweet"})
    assert "zigzag" in with_settings({**good, "sde": {**good["sde"], "schedule": "zigzag"}})
    assert name in with_settings({**good, "sde": {"speed": 3}})
    assert "resnet" in with_settings({**good, "network": {"kind": "resnet"}})
    assert name in with_settings({**good, "network": {}})
    wider = {**good, "network": {**good["network"], "width": 12}}
    assert "restorer does not match the model" in with_settings(wider)
    (folder / "pipeline.json").write_text(json.dumps(good))
    (folder / "clip.safetensors").write_bytes(b"nothing")
    assert "clip.safetensors is not a safetensors file" in refusal(load, folder)


def test_loaded_parts_are_frozen_and_in_evaluation_mode(pipe):
    for part in (pipe.clip, pipe.daclip, pipe.restorer):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())


def test_word_embeddings_follow_the_daclip_that_is_set(pipe, scale):
    before = pipe.word_embeddings
    pipe.daclip = DaCLIP(scale.build_clip(seed=5)).eval()
    assert not torch.equal(pipe.word_embeddings, before)
