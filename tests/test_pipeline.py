"""The front door names, embeds and restores any image, and refuses clearly what it cannot use."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import daclip_lab
from daclip_lab.data.image_io import read_image, to_pil
from daclip_lab.degradations.registry import LABELS
from daclip_lab.diffusion.samplers import SAMPLERS
from daclip_lab.errors import InputError
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.pipeline import loading
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline


def image(h, w, seed=0):
    return torch.rand(3, h, w, generator=torch.Generator().manual_seed(seed))


def pixels(picture):
    return np.asarray(picture)


def refusal(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def test_embeddings_are_the_mean_over_the_views(pipe, photo):
    from daclip_lab.models.clip import views

    with torch.no_grad():
        each = pipe.daclip.encode_image(views(photo, 32, "both"))
    for ours, seen in zip(pipe.encode([photo]), each, strict=True):
        wanted = torch.nn.functional.normalize(seen.mean(0), dim=0)
        torch.testing.assert_close(ours[0], wanted, atol=1e-5, rtol=1e-5)


def test_without_a_controller_embeddings_are_clips(pipe, photo):
    plain = pipe.encode_clip([photo])
    untrained = Pipeline(pipe.settings, daclip=DaCLIP(pipe.clip))
    content, degradation = untrained.encode([photo])
    torch.testing.assert_close(content, plain)
    torch.testing.assert_close(degradation, plain)


def test_no_images_are_refused(pipe):
    assert "no images" in refusal(pipe.classify, [])
    assert "no images" in refusal(pipe.embed, [])


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


def test_what_cannot_be_restored_is_refused(pipe):
    assert "15x20 pixels" in refusal(pipe.restore, image(20, 15))
    assert "at least 16x16" in refusal(pipe.restore, image(15, 15))
    assert "'ddpm' is unknown" in refusal(pipe.restore, image(16, 16), sampler="ddpm")
    for steps in (0, 101):
        assert f"steps={steps}" in refusal(pipe.restore, image(16, 16), steps=steps)
    assert "-1" in refusal(pipe.restore, image(16, 16), seed=-1)


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


# ---- folders ----


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


def test_a_pipeline_only_reads(pipe):
    for part in (pipe.clip, pipe.daclip, pipe.restorer):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())
