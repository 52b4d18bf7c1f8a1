"""Ablations: variants differ in their conditioning only, and an interrupted study resumes with the same numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from daclip_lab.ablation import study
from daclip_lab.ablation.conditioning import (
    build_eval_set,
    conditioning_gains,
    conditioning_variants,
    mask_embeddings,
    paired_differences,
)
from daclip_lab.ablation.study import (
    AblationPlan,
    CachedSource,
    MaskedDaCLIP,
    ablate,
    differences_to,
    seed_interval,
)
from daclip_lab.data.photos import Photos, image_folder
from daclip_lab.data.training_pairs import Batches, Synthetic
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.models.daclip import Embeddings
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training.restoration import train_restorer


@pytest.fixture(scope="module")
def eval_set(photo_folder):
    return build_eval_set(image_folder(photo_folder), Protocol(crop=32))


@pytest.fixture
def plan(scale, eval_set):
    # The layers that read the embeddings start at zero: they have an effect from the third step on.
    recipe = replace(
        scale.restorer, steps=4, batch_size=2, learning_rate=0.03, conditioning_dropout=0.0
    )
    return AblationPlan(
        network=scale.network,
        recipe=recipe,
        source=Synthetic(photos=None, scene_prob=1.0),
        eval_set=eval_set,
        eval_steps=(1,),
    )


@pytest.fixture
def embeddings():
    generator = torch.Generator().manual_seed(0)
    return Embeddings(*(torch.randn(3, 4, generator=generator) for _ in range(2)))


# ---- conditioning at inference ----


def test_an_evaluation_set_has_every_photo_in_all_ten_degradations(eval_set):
    assert len(eval_set.clean) == len(eval_set.degraded) == len(eval_set.metadata) == 20
    assert eval_set.metadata.groupby("photo").degradation.nunique().tolist() == [10, 10]
    assert (eval_set.gain(eval_set.degraded) == 0).all()
    assert (eval_set.gain(eval_set.clean) > 0).all()


def test_embeddings_that_are_not_kept_are_zero(embeddings):
    assert mask_embeddings(embeddings, ("content",)).content is embeddings.content
    assert not mask_embeddings(embeddings, ("content",)).degradation.any()
    assert not any(e.any() for e in mask_embeddings(embeddings, ()))


def test_variants_change_the_named_embedding_and_nothing_else(pipe, eval_set):
    variants = conditioning_variants(pipe, eval_set)
    own = pipe.encode(list(eval_set.degraded))
    true = [pipe.settings.labels.index(name) for name in eval_set.metadata.degradation]
    assert torch.equal(variants["both"].content, own.content)
    assert torch.equal(variants["oracle"].degradation, pipe.word_embeddings[true])
    wrong = (variants["wrong word"].degradation @ pipe.word_embeddings.T).argmax(1).tolist()
    assert not any(a == b for a, b in zip(wrong, true, strict=True))
    assert torch.equal(variants["wrong word"].content, own.content)
    for name, (here, there) in eval_set.metadata.groupby("degradation").groups.items():
        # Two photos: each gets the content of the other one.
        other = variants["another content"].content[[here, there]]
        assert torch.equal(other, own.content[[there, here]]), name


def test_another_content_needs_another_photo(pipe, photo_folder):
    one = build_eval_set(Photos([photo_folder / "cup.png"]), Protocol(crop=32))
    with pytest.raises(InputError, match="photo cup"):
        conditioning_variants(pipe, one)


def test_gains_are_those_of_the_restorations(pipe, eval_set):
    variants = conditioning_variants(pipe, eval_set)
    two = {name: variants[name] for name in ("none", "both")}
    gains, restored = conditioning_gains(pipe, eval_set, two, steps=1)
    assert np.array_equal(gains["both"], eval_set.gain(restored["both"]))
    assert not torch.equal(restored["both"], restored["none"])


def test_paired_differences_cancel_what_photos_share():
    metadata = pd.DataFrame({"photo": ["a", "a", "b", "b"], "degradation": ["hazy", "noisy"] * 2})
    values = pd.DataFrame({"none": [1.0, 9.0, 3.0, 5.0]}).assign(both=lambda t: t.none + 0.5)
    table = paired_differences(values, "none", metadata)
    assert table.degradation.tolist() == ["overall", "hazy", "noisy"]
    assert set(table.conditioning) == {"both"}
    assert np.allclose(table[["difference", "low", "high"]], 0.5)
    assert table.n.tolist() == [4, 2, 2] and set(table.photos) == {2}


# ---- trained ablations ----


def test_a_cached_source_draws_what_the_source_draws():
    source = Synthetic(photos=None, scene_prob=1.0)
    cached = CachedSource(source)
    for k in (0, 1, 0):
        expected, found = (Batches(s, size=32, batch=2, seed=3)[k] for s in (source, cached))
        assert torch.equal(expected.degraded, found.degraded) and expected.labels == found.labels
    assert len(cached.cache) == 4


def test_variants_encode_a_batch_once(pipe):
    images, cache = torch.rand(2, 3, 32, 32), {}
    with torch.no_grad():
        own = pipe.daclip.encode_image(images)
        content = MaskedDaCLIP(pipe.daclip, ("content",), cache).encode_image(images)
        assert len(cache) == 1
        degradation = MaskedDaCLIP(pipe.daclip, ("degradation",), cache).encode_image(images)
    assert len(cache) == 1
    assert torch.equal(content.content, own.content) and not content.degradation.any()
    assert torch.equal(degradation.degradation, own.degradation) and not degradation.content.any()
    unnormalized = MaskedDaCLIP(pipe.daclip, ("content",), cache)
    with torch.no_grad():
        lengths = unnormalized.encode_image(images, normalize=False).content.norm(dim=-1)
    assert (lengths - 1).abs().min() > 0.01


def test_masking_both_embeddings_equals_training_without_daclip(pipe, plan, precision):
    def trained(daclip):
        net = build_restorer(plan.network, pipe.settings.clip.embed_dim, seed=0)
        list(train_restorer(net, daclip, pipe.sde, plan.source, plan.recipe))
        return net.state_dict()

    without, masked = trained(None), trained(MaskedDaCLIP(pipe.daclip, (), {}))
    # To rounding: the norm for gradient clipping sums over the zero gradients, too.
    atol, rtol = {"float32": (1e-6, 1e-5), "bfloat16": (1e-3, 1e-3)}[precision]
    torch.testing.assert_close(without, masked, atol=atol, rtol=rtol)
    both = trained(MaskedDaCLIP(pipe.daclip, ("content", "degradation"), {}))
    assert max((both[name] - without[name]).abs().max() for name in both) > 0.01


def test_runs_do_not_depend_on_each_other_and_resume(pipe, plan, tmp_path, monkeypatch):
    out = tmp_path / "study.jsonl"
    first = ablate(pipe, plan, variants=("both",), seeds=(0, 1), out=out)
    variants = ("none", "both", "oracle")
    whole = ablate(pipe, plan, variants=variants, seeds=(0, 1), out=out)
    assert len(out.read_text().splitlines()) == 1 + 6
    pd.testing.assert_frame_equal(whole.gains[["both"]], first.gains)
    fresh = ablate(pipe, plan, variants=("none", "both"), seeds=(1,))
    assert whole.gains["both", 1].tolist() == fresh.gains["both", 1].tolist()
    curve = whole.curves[(whole.curves.variant == "none") & (whole.curves.seed == 0)]
    assert curve.step.tolist() == [0, 1, 4]
    assert curve.gain.iloc[-1] == pytest.approx(whole.gains["none", 0].mean())
    assert whole.gains.T.drop_duplicates().shape[0] == 6

    monkeypatch.setattr(study, "_run", lambda *_: pytest.fail("trained again"))
    again = ablate(pipe, plan, variants=variants, seeds=(0, 1), out=out)
    pd.testing.assert_frame_equal(again.gains, whole.gains)


def test_runs_of_another_recipe_or_other_data_are_not_resumed(pipe, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_run", lambda *_: {"gains": [0.0] * 20, "curve": []})
    out = tmp_path / "study.jsonl"
    ablate(pipe, plan, variants=("none",), seeds=(0,), out=out)
    others = {
        "recipe": replace(plan, recipe=replace(plan.recipe, learning_rate=1e-4)),
        "data": replace(plan, source=Synthetic(photos=None, scene_prob=1.0, clean_prob=1.0)),
        "eval_steps": replace(plan, eval_steps=(2,)),
    }
    others["data "] = replace(plan, eval_set=plan.eval_set._replace(clean=plan.eval_set.degraded))
    for field, other in others.items():
        with pytest.raises(InputError, match=field.strip()):
            ablate(pipe, other, variants=("none",), seeds=(0,), out=out)


def test_an_unknown_variant_is_refused(pipe, plan):
    with pytest.raises(InputError, match="'captions'"):
        ablate(pipe, plan, variants=("captions",))


def test_an_interval_of_three_seeds_is_wide():
    # t of 2 degrees of freedom is 4.3027; the standard deviation of these three is 1.
    assert seed_interval([1.0, 2.0, 3.0]) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    mean, low, high = seed_interval([1.5])
    assert mean == 1.5 and np.isnan(low) and np.isnan(high)


def test_differences_pair_the_runs_of_a_seed():
    columns = pd.MultiIndex.from_product([["none", "both"], [0, 1, 2]], names=["variant", "seed"])
    none = np.array([[1.0, 5.0, 9.0], [3.0, 7.0, 11.0]])  # seeds and photos differ by much
    gains = pd.DataFrame(np.hstack([none, none + np.array([[0.2], [0.4]])]), columns=columns)
    row = differences_to(gains, ["a", "b"]).loc["both"]
    assert row["gain"] == pytest.approx(6.3) and row.spread == pytest.approx(4.0)
    assert row[["difference", "seed_low", "seed_high"]].tolist() == pytest.approx([0.3] * 3)
    assert row[["photo_low", "photo_high"]].tolist() == pytest.approx([0.2, 0.4])
