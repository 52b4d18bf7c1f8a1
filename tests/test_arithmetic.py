"""Degradation arithmetic: directions obey geometry, and the restorer hears what it is told."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from daclip_lab.ablation.embedding_arithmetic import (
    between,
    both,
    gains,
    mixture_table,
    restored_as,
    steering_table,
    without,
)
from daclip_lab.data.image_io import read_image
from daclip_lab.data.photos import image_folder
from daclip_lab.data.training_pairs import LABELS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.figures import interpretability
from daclip_lab.metrics.image_quality import psnr


@pytest.fixture
def directions():
    return F.normalize(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.fixture
def batch(photo):
    return torch.stack([photo[:, :32, :32], photo[:, 32:64, 32:64]])


# ---- directions ----


def test_between_walks_the_arc_evenly(directions):
    first, second = directions
    whole = (first * second).sum(-1).arccos()
    for share in (0.0, 0.25, 0.5, 1.0):
        way = between(first, second, share)
        torch.testing.assert_close((first * way).sum(-1).clamp(-1, 1).arccos(), share * whole,
                                   atol=1e-3, rtol=0)  # fmt: skip
        torch.testing.assert_close(way.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(between(first, second, 1.0), second)
    torch.testing.assert_close(between(first, first, 0.3), first)


def test_both_lies_halfway_and_without_takes_its_part_out(directions):
    first, second = directions
    torch.testing.assert_close(both(first, second), between(first, second, 0.5))
    rest = without(first, 3 * second)
    torch.testing.assert_close((rest * second).sum(-1), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(rest.norm(dim=-1), torch.ones(5))


def test_what_has_no_answer_is_refused(directions):
    first, _ = directions
    with pytest.raises(InputError, match="opposite"):
        between(first, -first, 0.5)
    with pytest.raises(InputError, match="nothing is left"):
        without(first, first)


def test_a_word_is_what_the_classifier_compares_with(pipe):
    for label, row in zip(LABELS, pipe.word_embeddings, strict=True):
        assert torch.equal(pipe.word(label), row)
    text = "a photo taken in heavy rain"
    torch.testing.assert_close(pipe.word(text), pipe.daclip.encode_text([text])[0].detach())


# ---- steering ----


def test_told_its_own_embedding_it_restores_as_always(pipe, photo):
    own = pipe.encode([photo]).degradation[0]
    same, plain = pipe.restore(photo, as_degradation=own, seed=3), pipe.restore(photo, seed=3)
    assert same.tobytes() == plain.tobytes()


def test_another_word_makes_another_image_of_the_same_size(pipe, photo):
    hazy, dark = (pipe.restore(photo, as_degradation=name) for name in ("hazy", "low-light"))
    assert hazy.size == dark.size == (80, 72)
    assert hazy.tobytes() != dark.tobytes()
    again = pipe.restore(photo, as_degradation=pipe.word("hazy"))
    assert again.tobytes() == hazy.tobytes()
    with pytest.raises(InputError, match=r"\(3,\), wanted \(32,\)"):
        pipe.restore(photo, as_degradation=torch.zeros(3))


def test_an_embedding_may_be_given_for_all_or_for_each(pipe, batch):
    vector = pipe.word("noisy")
    for_all = restored_as(pipe, batch, vector)
    torch.testing.assert_close(for_all, restored_as(pipe, batch, torch.stack([vector] * 2)))
    with pytest.raises(InputError, match=r"wanted \(32,\) or \(2, 32\)"):
        restored_as(pipe, batch, torch.zeros(3, 32))


def test_gains_are_decibels_over_the_input(pipe, batch):
    clean = batch.flip(-1)
    table = gains(pipe, batch, clean, {"hazy": pipe.word("hazy")}, seed=1)
    assert list(table) == ["hazy", "own", "negated", "nothing"]
    expected = psnr(restored_as(pipe, batch, pipe.word("hazy"), seed=1), clean) - psnr(batch, clean)
    np.testing.assert_allclose(table.hazy, expected, atol=1e-6)
    own = read_image(pipe.restore(batch[0], seed=1))[None]
    # A batch draws other noise than its first image alone, but one restoration is like the other.
    assert table.own[0] == pytest.approx(
        (psnr(own, clean[:1]) - psnr(batch, clean)[0]).item(), abs=2
    )


def test_the_tables_have_a_line_for_all_that_was_done_and_told(pipe, photo_folder):
    photos = image_folder(photo_folder)
    table = steering_table(pipe, photos, Protocol(crop=32))
    assert list(table.index) == list(LABELS) and list(table) == [
        *LABELS,
        "own",
        "negated",
        "nothing",
    ]
    assert table.notna().to_numpy().all()
    mixed = mixture_table(pipe, photos, [("hazy", "noisy")], crops=1)
    assert mixed.equals(mixture_table(pipe, photos, [("hazy", "noisy")], crops=1))
    assert set(mixed.strategy) == {
        "first", "second", "both", "own - first", "own - second", "own", "negated", "nothing",
        "in turn",
    }  # fmt: skip
    assert (mixed.pair == "hazy + noisy").all() and (mixed.low <= mixed.high).all()

    figure = interpretability.steering_heatmap(table)
    assert len(figure.axes[0].texts) == 121 and len(figure.axes[1].texts) == 33
    assert len(figure.axes[0].patches) == 11  # a frame for each word on its own row
    figure = interpretability.mixture_gains(mixed, {"both": "both words", "in turn": "in turn"})
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "both words",
        "in turn",
    ]


def test_the_strip_shows_the_way_from_one_word_to_another(photo):
    figure = interpretability.between_strip(
        photo, [photo] * 3, [0, 0.5, 1], [1.0, 2.0, -1.0], ("rainy", "hazy")
    )
    assert len(figure.axes) == 5
    assert "from rainy to hazy" in figure.axes[-1].get_xlabel()
