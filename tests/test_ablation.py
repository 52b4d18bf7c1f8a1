"""Variants of a seed share all but what they are told; what is left out is as if it did not exist; runs go on."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from daclip_lab.ablation import study
from daclip_lab.ablation.conditioning import (
    conditioning_gains,
    conditioning_variants,
    eval_set_of,
    only,
    paired_differences,
)
from daclip_lab.ablation.study import (
    CachedSource,
    MaskedDaCLIP,
    Plan,
    ablate,
    compared,
    seed_interval,
)
from daclip_lab.data.photos import Photos, image_folder
from daclip_lab.data.training_pairs import Batches, Synthetic
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.models.daclip import Embeddings
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training.objectives import train_restorer


@pytest.fixture(scope="module")
def exam(photo_folder):
    return eval_set_of(image_folder(photo_folder), Protocol(crop=32))


@pytest.fixture
def plan(scale, exam):
    return Plan(
        network=scale.network,
        # A network hears what it is told from its third step on, for layers that start at zero, and faintly at first.
        recipe=replace(
            scale.restorer, steps=4, batch_size=2, learning_rate=0.03, conditioning_dropout=0.0
        ),
        source=Synthetic(photos=None, scene_prob=1.0),
        exam=exam,
        moments=(1,),
    )


@pytest.fixture
def told():
    generator = torch.Generator().manual_seed(0)
    return Embeddings(*(torch.randn(3, 4, generator=generator) for _ in range(2)))


def test_an_exam_asks_of_every_photo_all_ten_ways(exam):
    assert len(exam.clean) == len(exam.degraded) == len(exam.facts) == 20
    assert exam.facts.groupby("photo").degradation.nunique().tolist() == [10, 10]
    assert (exam.gain(exam.degraded) == 0).all() and (exam.gain(exam.clean) > 0).all()


def test_what_is_not_named_is_left_out(told):
    assert only(told, ("content",)).content is told.content
    assert not only(told, ("content",)).degradation.any()
    assert not any(e.any() for e in only(told, ()))


def test_ways_to_tell_change_what_they_say_and_nothing_else(pipe, exam):
    ways = conditioning_variants(pipe, exam)
    own = pipe.encode(list(exam.degraded))
    right = [pipe.settings.labels.index(name) for name in exam.facts.degradation]
    assert torch.equal(ways["both"].content, own.content)
    assert torch.equal(ways["oracle"].degradation, pipe.word_embeddings[right])
    wrong = (ways["wrong word"].degradation @ pipe.word_embeddings.T).argmax(1).tolist()
    assert not any(a == b for a, b in zip(wrong, right, strict=True))
    assert torch.equal(ways["wrong word"].content, own.content)
    for kind, rows in exam.facts.groupby("degradation").groups.items():
        # Two photos: the other one's embedding, the other way round.
        here, there = rows
        assert torch.equal(
            ways["another content"].content[[here, there]], own.content[[there, here]]
        ), kind


def test_another_content_needs_another_photo(pipe, photo_folder):
    with pytest.raises(InputError, match="at least 2 photos"):
        conditioning_variants(
            pipe, eval_set_of(Photos([photo_folder / "cup.png"]), Protocol(crop=32))
        )


def test_told_gains_are_those_of_the_restorations(pipe, exam):
    ways = conditioning_variants(pipe, exam)
    gains, restored = conditioning_gains(
        pipe, exam, {name: ways[name] for name in ("nothing", "both")}, steps=1
    )
    assert np.array_equal(gains["both"], exam.gain(restored["both"]))
    assert not torch.equal(restored["both"], restored["nothing"])


def test_paired_differences_leave_out_what_photos_share():
    facts = pd.DataFrame({"photo": ["a", "a", "b", "b"], "degradation": ["hazy", "noisy"] * 2})
    values = pd.DataFrame({"nothing": [1.0, 9.0, 3.0, 5.0]}).assign(both=lambda t: t.nothing + 0.5)
    table = paired_differences(values, "nothing", facts)
    assert table.degradation.tolist() == ["overall", "hazy", "noisy"] and set(table.told) == {
        "both"
    }
    assert np.allclose(table[["difference", "low", "high"]], 0.5)
    assert table.n.tolist() == [4, 2, 2] and set(table.photos) == {2}


def test_a_remembered_source_draws_what_the_source_draws():
    source = Synthetic(photos=None, scene_prob=1.0)
    remembered = CachedSource(source)
    for k in (0, 1, 0):
        wanted, found = (Batches(s, size=32, batch=2, seed=3)[k] for s in (source, remembered))
        assert torch.equal(wanted.degraded, found.degraded) and wanted.labels == found.labels
    assert len(remembered.known) == 4


def test_daclip_is_asked_once_for_a_batch(pipe):
    images, known = torch.rand(2, 3, 32, 32), {}
    with torch.no_grad():
        own = pipe.daclip.encode_image(images)
        content = MaskedDaCLIP(pipe.daclip, ("content",), known).encode_image(images)
        assert len(known) == 1
        degradation = MaskedDaCLIP(pipe.daclip, ("degradation",), known).encode_image(images)
    assert len(known) == 1
    assert torch.equal(content.content, own.content) and not content.degradation.any()
    assert torch.equal(degradation.degradation, own.degradation) and not degradation.content.any()


def test_left_out_entirely_is_as_if_there_were_no_daclip(pipe, plan, precision):
    trained = []
    for daclip in (None, MaskedDaCLIP(pipe.daclip, (), {})):
        net = build_restorer(plan.network, pipe.settings.clip.embed_dim, seed=0)
        list(train_restorer(net, daclip, pipe.sde, plan.source, plan.recipe))
        trained.append(net.state_dict())
    # To rounding: the norm that gradients are clipped to is summed over zeros, too.
    bounds = {"float32": (1e-6, 1e-5), "bfloat16": (1e-4, 1e-3)}
    atol, rtol = bounds[precision]
    torch.testing.assert_close(*trained, atol=atol, rtol=rtol)


def test_runs_are_the_same_whatever_stands_beside_them_and_go_on(pipe, plan, tmp_path, monkeypatch):
    options = {"seeds": (0, 1), "folder": tmp_path}
    ablate(pipe, plan, variants=("both",), **options)
    first = (tmp_path / "both-1.json").read_text()
    whole = ablate(pipe, plan, variants=("none", "both", "oracle"), **options)
    assert (tmp_path / "both-1.json").read_text() == first
    assert whole.gains["both", 1].tolist() == json.loads(first)["gains"]
    assert len(list(tmp_path.iterdir())) == 6
    curve = whole.curves[(whole.curves.variant == "none") & (whole.curves.seed == 0)]
    assert curve.step.tolist() == [0, 1, 4]
    assert curve.gain.iloc[-1] == pytest.approx(whole.gains["none", 0].mean())
    assert whole.gains.T.drop_duplicates().shape[0] == 6

    monkeypatch.setattr(study, "_run", lambda *_: pytest.fail("trained again"))
    again = ablate(pipe, plan, variants=("none", "both", "oracle"), **options)
    pd.testing.assert_frame_equal(again.gains, whole.gains)
    other = replace(plan, recipe=replace(plan.recipe, learning_rate=1e-4))
    with pytest.raises(InputError, match="other recipe"):
        ablate(pipe, other, variants=("none",), **options)


def test_an_unknown_variant_is_refused(pipe, plan):
    with pytest.raises(InputError, match="'captions' is unknown"):
        ablate(pipe, plan, variants=("captions",))


def test_an_interval_of_three_seeds_is_wide():
    # t of 2 degrees of freedom is 4.3027; the spread of these three is 1.
    assert seed_interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    mean, low, high = seed_interval([1.5])
    assert mean == 1.5 and np.isnan(low) and np.isnan(high)


def test_compared_pairs_the_runs_of_a_seed():
    columns = pd.MultiIndex.from_product([["none", "both"], [0, 1, 2]], names=["variant", "seed"])
    none = np.array([[1.0, 5.0, 9.0], [3.0, 7.0, 11.0]])  # seeds and photos differ by much
    gains = pd.DataFrame(np.hstack([none, none + np.array([[0.2], [0.4]])]), columns=columns)
    line = compared(gains, ["a", "b"]).loc["both"]
    assert line["gain"] == pytest.approx(6.3) and line.spread == pytest.approx(4.0)
    assert line[["difference", "seed_low", "seed_high"]].tolist() == pytest.approx([0.3] * 3)
    assert line[["photo_low", "photo_high"]].tolist() == pytest.approx([0.2, 0.4])
