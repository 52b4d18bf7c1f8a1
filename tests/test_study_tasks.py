"""What a run of a study does: banks of examples, exams, and the training of small restorers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from counting import finish

from daclip_lab.ablation.conditioners import conditioned
from daclip_lab.ablation.studies import study
from daclip_lab.ablation.study import Context
from daclip_lab.ablation.tasks.bank import BankSettings, bank
from daclip_lab.ablation.tasks.exam import EIGHT, Exam, eight_crops, exam
from daclip_lab.ablation.tasks.restorer import RestorerTrial, restore
from daclip_lab.data.photos import Photos, sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, Synthetic
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.errors import InputError
from daclip_lab.pipeline.loading import load

STUDIES = ("conditioning", "injection", "backbone", "target", "data")
CASES = [(name, variant.name) for name in STUDIES for variant in study(name).variants]
SMALL = BankSettings(examples=10, size=32)


@pytest.fixture(scope="module")
def context(weights, tmp_path_factory):
    photos = Photos(sample_photos("test").paths[:3])
    return Context(
        pipe=load(weights),
        train=sample_photos("train"),
        test=photos,
        device=torch.device("cpu"),
        cache=tmp_path_factory.mktemp("cache"),
    )


# ---- banks ----


def test_a_bank_is_a_pure_function_of_settings_seed_and_photos(context, tmp_path):
    first = bank(SMALL, 3, context)
    again = bank(SMALL, 3, replace(context, cache=tmp_path))
    assert torch.equal(first.clean, again.clean) and torch.equal(first.degraded, again.degraded)
    assert (first.labels, first.captions) == (again.labels, again.captions)
    other = bank(SMALL, 4, context)
    assert not torch.equal(first.clean, other.clean)


def test_a_longer_bank_begins_with_the_shorter_one(context):
    short, long = (bank(replace(SMALL, examples=n), 0, context) for n in (4, 6))
    assert torch.equal(long.clean[:4], short.clean) and long.labels[:4] == short.labels


def test_a_bank_holds_what_the_training_source_draws(context):
    made = bank(SMALL, 5, context)
    source = Synthetic(
        photos=context.train,
        scene_prob=SMALL.scene_prob,
        clean_prob=SMALL.clean_prob,
        severity=SMALL.severity,
        degradations=SMALL.degradations,
    )
    for k in (0, 9):
        drawn = source.draw(seeded(5, k, 3), 32)
        assert (made.labels[k], made.captions[k]) == (drawn.label, drawn.caption)
        assert (made.degraded[k] / 255 - drawn.degraded).abs().max() <= 0.5 / 255 + 1e-6


def test_without_a_camera_clean_examples_are_untouched(context):
    settings = replace(SMALL, clean_prob=1.0)
    plain = bank(replace(settings, camera=False), 0, context)
    assert torch.equal(plain.clean, plain.degraded) and set(plain.labels) == {CLEAN}
    through = bank(settings, 0, context)
    assert torch.equal(plain.clean, through.clean)
    assert not torch.equal(through.clean, through.degraded)


def test_a_bank_is_made_once(context, monkeypatch):
    before = bank(SMALL, 6, context)
    monkeypatch.setattr(Synthetic, "draw", lambda *_, **__: pytest.fail("drawn again"))
    assert torch.equal(bank(SMALL, 6, context).clean, before.clean)


def test_a_bank_that_was_not_finished_is_made_again(context):
    before = bank(SMALL, 7, context)
    (before.folder / "bank.json").unlink()
    assert torch.equal(bank(SMALL, 7, context).clean, before.clean)


def test_a_limit_takes_the_same_photos_for_every_seed(context, monkeypatch):
    """Those of a lower limit are among those of a higher one."""
    used = []

    def recorded(**settings):
        used.append(set(settings["photos"].names))
        return Synthetic(**settings)

    monkeypatch.setattr("daclip_lab.ablation.tasks.bank.Synthetic", recorded)
    for limit, seed in ((2, 0), (2, 1), (4, 0)):
        bank(replace(SMALL, examples=1, photo_limit=limit), seed, context)
    few, again, many = used
    assert few == again and few < many and (len(few), len(many)) == (2, 4)


def test_batches_of_a_bank_carry_the_embeddings_of_their_images(context):
    made = bank(SMALL, 0, context)
    embeddings = torch.arange(10.0)[:, None, None].expand(10, 2, 4)
    batch = Batches(made.source(embeddings), size=32, batch=6, seed=1)[0]
    assert batch.clean.dtype == torch.uint8 and batch.embeddings.shape == (6, 2, 4)
    for image, label, row in zip(batch.degraded, batch.labels, batch.embeddings, strict=True):
        index = int(row[0, 0])
        assert torch.equal(image, made.degraded[index]) and label == made.labels[index]


def test_variants_of_one_seed_are_trained_on_equal_batches(context):
    made = bank(SMALL, 0, context)
    plain, own = (
        Batches(made.source(e), size=32, batch=6, seed=1)[4] for e in (None, torch.ones(10, 2, 4))
    )
    assert torch.equal(plain.clean, own.clean) and torch.equal(plain.degraded, own.degraded)


def test_a_bank_has_crops_of_one_size(context):
    with pytest.raises(InputError, match="size=16"):
        bank(SMALL, 0, context).source().draw(seeded(0), 16)


# ---- exams ----


def test_an_exam_shows_every_photo_in_ten_degradations(context, tmp_path):
    images = exam(context.test, 64, 2, context)
    assert len(images.clean) == len(images.degraded) == len(images.facts) == 20
    assert images.facts.groupby("photo").degradation.nunique().tolist() == [10, 10]
    assert images.facts.image.is_unique and CLEAN not in set(images.facts.degradation)
    again = exam(context.test, 64, 2, replace(context, cache=tmp_path))
    assert torch.equal(images.degraded, again.degraded)
    pd.testing.assert_frame_equal(images.facts, again.facts)


def test_an_exam_passes_over_photos_that_are_too_small(context, photo_folder):
    from daclip_lab.data.photos import image_folder

    mixed = Photos([*image_folder(photo_folder).paths, *context.test.paths])
    assert set(exam(mixed, 128, 2, context).facts.photo) == set(context.test.names[:2])
    with pytest.raises(InputError):
        exam(image_folder(photo_folder), 128, 2, context)


def test_gains_are_decibels_over_the_degraded_image():
    clean = torch.full((1, 3, 4, 4), 0.5)
    images = Exam(clean, clean + 0.1, pd.DataFrame({"image": ["a"]}))
    assert images.gain(clean + 0.01).item() == pytest.approx(20, abs=1e-3)
    assert images.gain(clean - 0.1).item() == pytest.approx(0, abs=1e-3)


def test_the_eight_crops_are_of_the_bundled_photos_each_in_its_own_degradation():
    eight = eight_crops()
    assert eight.clean.shape == eight.degraded.shape == (8, 3, 128, 128)
    assert list(eight.facts.photo) == list(EIGHT) and eight.facts.degradation.is_unique
    assert (eight.clean - eight.degraded).abs().mean((1, 2, 3)).min() > 0.01


def test_kept_embeddings_are_those_of_the_kind(context):
    images = exam(context.test, 64, 1, context)
    for _ in range(2):  # made, then read
        found = images.embeddings("DA-CLIP's word", context.pipe)
        expected = conditioned(
            context.pipe,
            "DA-CLIP's word",
            clean=images.clean,
            degraded=images.degraded,
            labels=list(images.facts.degradation),
            photos=list(images.facts.photo),
        )
        for part, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(part, wanted, rtol=0, atol=0)


# ---- runs ----


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_every_variant_runs_and_gives_the_metrics_it_names(context, name, variant):
    chosen = study(name).smoke()
    trial = chosen.trial_of(variant)
    shares, measured = finish(trial.run(0, context))
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1
    table = measured.table
    assert list(table.columns) == ["image", "photo", "degradation", "metric", "value"]
    assert np.isfinite(table.value).all()
    assert not table.duplicated(["image", "metric"]).any()
    wanted = {"gain at 64 px"} | {f"gain at 64 px, w = {w:g}" for w in trial.guidance}
    wanted |= {f"gain at 64 px, {count} steps" for count in trial.steps[1:]}
    if trial.large_exam:
        wanted |= {name.replace("64", "256") for name in wanted if "w =" not in name}
    assert set(table.metric) == wanted
    assert len(measured.crops) == 8
    assert all(
        c.min() >= 0 and c.max() <= 1 and c.shape == (3, 128, 128) for c in measured.crops.values()
    )


@pytest.mark.parametrize("name", STUDIES)
def test_the_metric_that_decides_is_one_that_every_variant_measures(name):
    chosen = study(name)
    for variant in chosen.variants:
        steps = chosen.trial_of(variant.name).steps
        names = ["gain at 64 px", *(f"gain at 64 px, {count} steps" for count in steps[1:])]
        assert chosen.metric in names


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(context):
    trial = RestorerTrial(large_exam=0).smoke()
    first, again, other = (finish(trial.run(seed, context))[1] for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    assert all(torch.equal(first.crops[name], again.crops[name]) for name in first.crops)
    assert not np.array_equal(first.table.value, other.table.value)


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(context, tmp_path):
    trial = RestorerTrial(large_exam=0).smoke()
    whole = finish(trial.run(0, context))[1]
    stopped = trial.run(0, replace(context, run=tmp_path))
    for _ in range(2):
        next(stopped)
    stopped.close()
    shares, resumed = finish(trial.run(0, replace(context, run=tmp_path)))
    assert shares[0] > 0.25  # not from the start
    pd.testing.assert_frame_equal(whole.table, resumed.table, check_exact=True)


def test_the_budget_is_a_share_of_the_steps(context):
    trial = replace(RestorerTrial(large_exam=0).smoke(), budget=0.5)
    shares, _ = finish(trial.run(0, context))
    assert shares == pytest.approx([0.45, 0.9, 0.95])


# ---- guidance ----


@pytest.fixture
def guided(context, randomize):
    """Restorations of an exam under a weight of guidance, with a network in which every part has a say."""
    images = exam(context.test, 64, 1, context)
    net = context.pipe.require_restorer()
    own = images.embeddings("DA-CLIP's embeddings", context.pipe)
    none = images.embeddings("nothing", context.pipe)

    def restored(w=1.0, embeddings=own):
        return restore(net, context.pipe.sde, images, embeddings, 1, guidance=w)

    return restored, none


def test_guidance_joins_the_unconditioned_and_the_conditioned_prediction_by_a_line(guided):
    restored, none = guided
    zero, one, half = restored(0.0), restored(1.0), restored(0.5)
    torch.testing.assert_close(zero, restored(embeddings=none))
    assert (zero - one).abs().max() > 1e-4
    inside = ((zero > 0) & (zero < 1) & (one > 0) & (one < 1)).float()
    torch.testing.assert_close(half * inside, (zero + one) / 2 * inside, atol=1e-5, rtol=0)


def test_a_weight_of_one_is_the_conditioned_output(context):
    trial = study("conditioning").smoke().trial_of("DA-CLIP's embeddings, dropout 0.1")
    table = finish(trial.run(0, context))[1].table.set_index("metric").value
    assert np.array_equal(table["gain at 64 px"], table["gain at 64 px, w = 1"])
    assert not np.array_equal(table["gain at 64 px"], table["gain at 64 px, w = 3"])
