"""Embedding arithmetic: directions obey geometry, and the restorer depends on its conditioning."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from daclip_lab.ablation.embedding_arithmetic import (
    combine,
    interpolate,
    project_out,
    steering_gains,
)
from daclip_lab.course.analysis import mixture_table, restore_patches, steering_table
from daclip_lab.data.photos import image_folder
from daclip_lab.degradations.registry import LABELS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.metrics.image_quality import psnr


@pytest.fixture
def directions():
    return F.normalize(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)


@pytest.fixture
def batch(photo):
    return torch.stack([photo[:, :32, :32], photo[:, 32:64, 32:64]])


# ---- directions ----


def test_interpolation_moves_along_the_arc_evenly(directions):
    first, second = directions
    angle = (first * second).sum(-1).arccos()
    for share in (0.0, 0.25, 0.5, 1.0):
        mixed = interpolate(first, second, share)
        found = (first * mixed).sum(-1).clamp(-1, 1).arccos()
        torch.testing.assert_close(found, share * angle, atol=1e-3, rtol=0)
        torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(interpolate(first, second, 1.0), second)
    some_equal = torch.cat([first[:2], second[2:]])
    torch.testing.assert_close(interpolate(first, some_equal, 0.3)[:2], first[:2])


def test_a_sum_lies_halfway_and_a_projection_is_orthogonal(directions):
    first, second = directions
    torch.testing.assert_close(combine(first, second), interpolate(first, second, 0.5))
    rest = project_out(first, 3 * second)
    torch.testing.assert_close((rest * second).sum(-1), torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(rest.norm(dim=-1), torch.ones(5))


def test_opposite_and_parallel_directions_are_refused(directions):
    first, _ = directions
    with pytest.raises(InputError, match="opposite"):
        interpolate(first, -first, 0.5)
    with pytest.raises(InputError, match="parallel"):
        project_out(first, first)


def test_a_word_is_what_the_classifier_compares_with(pipe):
    for label, row in zip(LABELS, pipe.word_embeddings, strict=True):
        assert torch.equal(pipe.word(label), row)
    text = "a photo taken in heavy rain"
    torch.testing.assert_close(pipe.word(text), pipe.daclip.encode_text([text])[0].detach())


# ---- steering ----


def test_the_own_embedding_changes_nothing(pipe, photo):
    own = pipe.encode([photo]).degradation[0]
    same, plain = pipe.restore(photo, degradation=own, seed=3), pipe.restore(photo, seed=3)
    assert same.tobytes() == plain.tobytes()


def test_another_word_makes_another_image_of_the_same_size(pipe, photo):
    hazy, dark = (pipe.restore(photo, degradation=name) for name in ("hazy", "low-light"))
    assert hazy.size == dark.size == (80, 72)
    assert hazy.tobytes() != dark.tobytes()
    again = pipe.restore(photo, degradation=pipe.word("hazy"))
    assert again.tobytes() == hazy.tobytes()
    with pytest.raises(InputError, match=r"\(3,\)"):
        pipe.restore(photo, degradation=torch.zeros(3))


def test_gains_are_decibels_over_the_input(pipe, batch):
    clean = batch.flip(-1)
    table = steering_gains(pipe, batch, clean, {"hazy": pipe.word("hazy")}, seed=1)
    assert list(table) == ["hazy", "own", "negated", "none"]
    restored = torch.stack(pipe.restore(batch, degradation="hazy", seed=1, output_type="pt"))
    expected = psnr(restored, clean) - psnr(batch, clean)
    np.testing.assert_allclose(table.hazy, expected, atol=1e-6)
    alone = pipe.restore(batch[0], seed=1, output_type="pt")[None]
    gain = (psnr(alone, clean[:1]) - psnr(batch, clean)[0]).item()
    assert table.own[0] == pytest.approx(gain, abs=1e-3)
    each = pipe.word("hazy").expand(2, -1)
    np.testing.assert_allclose(
        steering_gains(pipe, batch, clean, {"hazy": each}, seed=1).hazy, table.hazy, atol=1e-6
    )


def test_the_tables_have_a_row_for_each_degradation_and_strategy(pipe, photo_folder):
    photos = image_folder(photo_folder)
    table = steering_table(pipe, photos, Protocol(crop=32))
    assert list(table.index) == list(LABELS)
    assert list(table) == [*LABELS, "own", "negated", "none"]
    assert table.notna().to_numpy().all()
    mixed = mixture_table(pipe, photos, [("hazy", "noisy")], crops=1)
    assert mixed.equals(mixture_table(pipe, photos, [("hazy", "noisy")], crops=1))
    assert set(mixed.strategy) == {
        "first", "second", "both", "own - first", "own - second", "own", "negated", "none",
        "in turn",
    }  # fmt: skip
    assert (mixed.pair == "hazy + noisy").all() and (mixed.low <= mixed.high).all()


def test_patches_are_restored_by_themselves_on_the_embeddings_of_their_own_image(pipe, batch):
    net, sde = pipe.restorer, pipe.sde
    own = pipe.encode(list(batch))
    whole = restore_patches(net, sde, batch, own, 16)
    changed = batch.clone()
    changed[0, :, :16, 16:] = 0.5
    moved = (restore_patches(net, sde, changed, own, 16) != whole).any(1)
    assert moved[0, :16, 16:].any() and not moved[0, :, :16].any() and not moved[1].any()
    mixed = [torch.stack([part[0], part[0]]) for part in own]
    changed = (restore_patches(net, sde, batch, mixed, 16) != whole).flatten(1).any(1)
    assert changed.tolist() == [False, True]
    assert not torch.equal(whole, restore_patches(net, sde, batch, None, 16))
