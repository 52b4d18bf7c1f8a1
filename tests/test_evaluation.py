"""An evaluation is the same at every run, its measures are the field's, and its intervals count photos, not crops."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from daclip_lab.analysis.evaluation import (
    Protocol,
    degraded_crops,
    evaluate,
    interval,
    psnr,
    ssim,
)
from daclip_lab.data.datasets import LABELS
from daclip_lab.data.degradations import NAMES
from daclip_lab.data.image_io import save_image
from daclip_lab.data.photos import folder
from daclip_lab.diffusion.samplers import SampleStep
from daclip_lab.errors import InputError
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline import Pipeline

MEASURES = ("accuracy", "psnr_input", "psnr", "ssim_input", "ssim")
PROTOCOL = Protocol(crop=32, crops=1, steps=1)


@pytest.fixture(scope="module")
def photos(photo_folder):
    return folder(photo_folder)


class Knowing:
    """A pipeline that has seen the answers: perfect DA-CLIP, perfect restorer; plain CLIP always says "hazy"."""

    def __init__(self, photos, protocol):
        self.restorer = "perfect"
        self.asked = []
        self.known = {}
        for index in range(len(photos)):
            clean, degraded, facts = degraded_crops(photos, index, protocol)
            for c, d, fact in zip(clean, degraded, facts, strict=True):
                self.known[d.numpy().tobytes()] = c, LABELS.index(fact["degradation"])

    def answer(self, images, part):
        return [self.known[image.numpy().tobytes()][part] for image in images]

    def encode(self, images):
        one_hot = torch.eye(11)[self.answer(images, 1)]
        return Embeddings(one_hot, one_hot)

    def encode_plain(self, images):
        return torch.eye(11)[[NAMES.index("hazy")] * len(images)]

    @property
    def word_embeddings(self):
        return torch.eye(11)

    def probabilities(self, degradation):
        return (10 * degradation).softmax(1)

    def trajectory(self, degraded, *, steps, sampler, seed):
        self.asked.append((steps, sampler, seed))
        yield SampleStep(degraded, 50, degraded)
        yield SampleStep(torch.stack(self.answer(degraded, 0)), 0, degraded)


# ---- the table ----


@pytest.fixture(scope="module")
def perfect(photos):
    pipe = Knowing(photos, PROTOCOL)
    return evaluate(pipe, photos, PROTOCOL), pipe


def test_a_perfect_pipeline_gets_perfect_marks(perfect):
    result, pipe = perfect
    table = result.table()
    assert (table.accuracy == 1).all()
    assert table.psnr.to_numpy() == pytest.approx(60)
    assert table.ssim.to_numpy() == pytest.approx(1, abs=1e-5)
    assert (table.psnr_input < 59).all()
    assert table.loc["overall", "clip_accuracy"] == pytest.approx(0.1)
    assert table.loc["hazy", "clip_accuracy"] == 1
    assert table.loc["overall", "false_clean"] == 0
    assert np.array_equal(result.confusion().to_numpy(), np.eye(10))
    assert pipe.asked == [(1, "posterior", 0)] * 2


def test_the_table_has_the_promised_rows_and_columns(perfect):
    table = perfect[0].table()
    assert list(table.index) == [*NAMES, "overall", "clean"]
    assert (table.loc[list(NAMES), "n"] == 2).all()
    assert table.loc["overall", "n"] == 20
    assert (table.photos == 2).all()
    for measure in MEASURES:
        low, mean, high = (table[measure + end] for end in ("_low", "", "_high"))
        assert (low <= mean + 1e-9).all()
        assert (mean <= high + 1e-9).all()


def test_overall_is_the_mean_over_all_degraded_crops(perfect):
    result, _ = perfect
    rows = result.rows[result.rows.degradation != "clean"]
    assert result.table().loc["overall", "psnr_input"] == pytest.approx(rows.psnr_input.mean())


def test_json_holds_the_table_and_the_protocol(perfect):
    import json

    content = json.loads(json.dumps(perfect[0].to_dict(), allow_nan=False))
    assert content["protocol"]["hash"] == PROTOCOL.hash
    assert content["protocol"]["crop"] == 32
    assert set(content["degradations"]) == {*NAMES, "overall", "clean"}
    line = content["degradations"]["hazy"]
    wanted = {"n", "photos"} | {m + end for m in MEASURES for end in ("", "_low", "_high")}
    assert wanted <= set(line)
    assert (line["n"], line["photos"]) == (2, 2)


def test_the_printed_table_names_protocol_and_intervals(perfect):
    text = str(perfect[0])
    assert PROTOCOL.hash in text
    assert "60.00 [60.00, 60.00]" in text
    assert "nan" not in text


def test_the_tiny_pipeline_is_measured_the_same_at_every_run(pipe, photos):
    first, second = (evaluate(pipe, photos, PROTOCOL) for _ in range(2))
    pd.testing.assert_frame_equal(first.rows, second.rows, check_exact=True)
    pd.testing.assert_frame_equal(first.table(), second.table(), check_exact=True)
    other = evaluate(pipe, photos, dataclasses.replace(PROTOCOL, seed=1))
    assert not np.array_equal(first.rows.psnr_input, other.rows.psnr_input)


def test_confusion_rows_sum_to_one(pipe, photos):
    confusion = evaluate(pipe, photos, PROTOCOL, restore=False).confusion()
    assert list(confusion.index) == list(confusion.columns) == list(NAMES)
    np.testing.assert_allclose(confusion.sum(axis=1), 1)


def test_restoration_can_be_left_out(pipe, photos):
    for result in (
        evaluate(pipe, photos, PROTOCOL, restore=False),
        evaluate(Pipeline(pipe.settings, daclip=pipe.daclip), photos, PROTOCOL),
    ):
        table = result.table()
        assert "psnr" not in table
        assert {"accuracy", "psnr_input"} <= set(table)
        assert PROTOCOL.hash in str(result)


def test_evaluating_leaves_global_randomness_alone(pipe, photos):
    before = torch.get_rng_state()
    evaluate(pipe, photos, PROTOCOL)
    assert torch.equal(before, torch.get_rng_state())


# ---- the protocol ----


def test_the_hash_changes_with_every_field_and_with_nothing_else(monkeypatch):
    changes = {
        "crop": None,
        "crops": 2,
        "severity": (0.2, 1.0),
        "steps": 7,
        "sampler": "deterministic",
        "seed": 1,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Protocol)}
    hashes = {dataclasses.replace(Protocol(), **{k: v}).hash for k, v in changes.items()}
    assert len(hashes | {Protocol().hash}) == len(changes) + 1
    assert Protocol().hash == Protocol().hash
    before = Protocol().hash
    monkeypatch.setattr("daclip_lab.analysis.evaluation.VERSION", 10_000)
    assert Protocol().hash != before


def test_the_printed_protocol_says_how_many_steps_were_taken(pipe, photos):
    """ "As many as the weights want" is not a number: two pipelines could mean different ones by the same hash."""
    left_open = evaluate(pipe, photos, dataclasses.replace(PROTOCOL, steps=None))
    said = evaluate(pipe, photos, dataclasses.replace(PROTOCOL, steps=pipe.settings.steps))
    assert left_open.to_dict()["protocol"]["steps"] == pipe.settings.steps
    assert left_open.protocol.hash == said.protocol.hash


def test_crops_of_a_photo_come_back_and_all_are_different(photos):
    protocol = dataclasses.replace(PROTOCOL, crops=2)
    clean, degraded, facts = degraded_crops(photos, 1, protocol)
    again = degraded_crops(photos, 1, protocol)
    assert torch.equal(degraded, again[1])
    assert facts == again[2]
    assert clean.shape == degraded.shape == (22, 3, 32, 32)
    assert [fact["degradation"] for fact in facts] == [*LABELS] * 2
    assert {fact["photo"] for fact in facts} == {"face"}
    assert torch.equal(clean[0], clean[10])
    assert not torch.equal(clean[0], clean[11])
    for fact in facts:
        low, high = (0, 0) if fact["degradation"] == "clean" else protocol.severity
        assert low <= fact["severity"] <= high


def test_whole_photos_can_be_measured(photos):
    clean, _, _ = degraded_crops(photos, 0, dataclasses.replace(PROTOCOL, crop=None))
    assert torch.equal(clean[0], photos[0])


def test_a_photo_smaller_than_the_crop_is_named(photos):
    with pytest.raises(InputError, match="photo cup is 96x64 pixels: wanted at least 65x65"):
        degraded_crops(photos, 0, dataclasses.replace(PROTOCOL, crop=65))


def test_photos_of_the_same_name_in_two_folders_are_two_photos(pipe, tmp_path, photo):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_image(photo if name == "a" else 1 - photo, tmp_path / name / "1.png")
    table = evaluate(pipe, folder(tmp_path), PROTOCOL, restore=False).table()
    assert table.loc["overall", "photos"] == 2
    assert table.loc["overall", "psnr_input_low"] < table.loc["overall", "psnr_input_high"]


# ---- intervals ----


def test_intervals_rest_on_photos():
    """Ten equal crops per photo tell no more than one."""
    values = np.random.default_rng(0).normal(size=12)
    names = np.array([f"photo {i}" for i in range(12)])
    once = interval(values, names)
    often = interval(np.repeat(values, 10), np.repeat(names, 10))
    assert often == pytest.approx(once)
    pretended = interval(np.repeat(values, 10), np.arange(120))
    assert pretended[2] - pretended[1] < 0.5 * (once[2] - once[1])


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        level = rng.normal(size=25)  # of each photo
        values = np.repeat(level, 3) + 0.2 * rng.normal(size=75)
        _, low, high = interval(values, np.repeat(np.arange(25), 3), resamples=300)
        hits += low <= 0 <= high
    # A percentile bootstrap of 25 photos covers a little less than 95 %; three deviations of 200 trials are 5 %.
    assert 0.87 < hits / 200 <= 0.99


def test_intervals_weigh_photos_by_their_crops():
    mean, low, high = interval(np.array([0.0, 0.0, 0.0, 1.0]), np.array(list("aaab")))
    assert mean == 0.25
    assert (low, high) == (0, 1)


def test_missing_values_do_not_count():
    values, names = np.array([1.0, np.nan, 3.0]), np.array(list("abb"))
    assert interval(values, names)[0] == 2
    assert all(np.isnan(interval(values[1:2], names[1:2])))
    assert interval(np.array([2.0, 2.0]), np.array(["a", "b"])) == (2, 2, 2)


# ---- measures ----


@pytest.fixture(scope="module")
def two(photo):
    generator = torch.Generator().manual_seed(0)
    clean = torch.stack([photo, photo.flip(-1)])
    return (clean + 0.1 * torch.randn(clean.shape, generator=generator)).clamp(0, 1), clean


def test_psnr_agrees_with_scikit_image(two):
    from skimage.metrics import peak_signal_noise_ratio

    for ours, image, clean in zip(psnr(*two), *two, strict=True):
        theirs = peak_signal_noise_ratio(clean.numpy(), image.numpy(), data_range=1.0)
        assert ours.item() == pytest.approx(theirs, abs=1e-3)


def test_ssim_agrees_with_scikit_image(two):
    from skimage.metrics import structural_similarity

    for ours, image, clean in zip(ssim(*two), *two, strict=True):
        theirs = structural_similarity(
            clean.numpy(),
            image.numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ours.item() == pytest.approx(theirs, abs=2e-3)


def test_equal_images_have_the_best_marks(two):
    assert psnr(two[1], two[1]).tolist() == pytest.approx([60, 60])
    assert ssim(two[1], two[1]).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert ssim(two[0][:1], two[1][:1]).shape == (1,)
