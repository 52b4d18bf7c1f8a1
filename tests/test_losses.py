"""The contrastive losses have the authors' numbers, and reach exactly the chance level and the floor they announce."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from daclip_lab.models.losses import (
    chance,
    floor,
    info_nce,
    label_loss,
    multi_positive_info_nce,
)

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])


@pytest.fixture(scope="module")
def reference():
    with np.load(Path(__file__).parent / "assets" / "daclip.npz") as file:
        names = [n for n in file.files if n != "config" and not n.startswith("w.")]
        return {name: torch.from_numpy(np.asarray(file[name])) for name in names}


def embeddings(n=6, d=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator), dim=-1)


def loss(image, text, scale, labels, multi_positive):
    if multi_positive:
        return multi_positive_info_nce(image, text, scale, labels).item()
    return info_nce(image, text, scale).item()


def test_info_nce_equals_the_reference(reference):
    scale = reference["logit_scale"]
    for image, text, wanted in [
        ("image_features", "text_features", "content_loss"),
        ("image_degra_features", "text_degra_features", "degradation_loss"),
    ]:
        ours = info_nce(reference[image], reference[text], scale)
        torch.testing.assert_close(ours, reference[wanted], atol=1e-5, rtol=0)


def test_both_losses_agree_when_all_rows_differ():
    image, text = embeddings(), embeddings(seed=1)
    torch.testing.assert_close(
        multi_positive_info_nce(image, text, 30.0, torch.arange(6)), info_nce(image, text, 30.0)
    )


def test_multi_positive_is_minus_the_log_of_the_probability_of_all_right_rows():
    image, text = embeddings(len(LABELS)), embeddings(len(LABELS), seed=1)
    logits = (7 * image @ text.T).double()
    total = 0.0
    for way in (logits, logits.T):
        for i, row in enumerate(way.softmax(1)):
            total -= math.log(row[LABELS[i] == LABELS].sum().item())
    wanted = total / (2 * len(LABELS))
    ours = multi_positive_info_nce(image, text, 7.0, LABELS).item()
    assert ours == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("multi_positive", [False, True])
def test_embeddings_that_say_nothing_are_at_chance(multi_positive):
    same = F.normalize(torch.ones(len(LABELS), 8), dim=-1)
    wanted = chance(LABELS, multi_positive=multi_positive)
    assert loss(same, same, 100.0, LABELS, multi_positive) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("multi_positive", [False, True])
def test_perfect_embeddings_are_at_the_floor(multi_positive):
    perfect = torch.eye(4)[LABELS]
    wanted = floor(LABELS, multi_positive=multi_positive)
    assert loss(perfect, perfect, 100.0, LABELS, multi_positive) == pytest.approx(wanted, abs=1e-5)


def test_no_embedding_of_equal_texts_goes_below_the_floor():
    """Gradient descent on the images, the texts of equal labels being equal, does not get below."""
    text = torch.eye(4)[LABELS]
    image = embeddings(len(LABELS), 4).requires_grad_(True)
    descent = torch.optim.Adam([image], lr=0.1)
    for _ in range(200):
        descent.zero_grad()
        value = info_nce(F.normalize(image, dim=-1), text, 20.0)
        value.backward()
        descent.step()
    wanted = floor(LABELS, multi_positive=False)
    assert wanted - 1e-5 < value.item() < wanted + 0.05


def test_the_two_levels_in_numbers():
    labels = torch.tensor([0] * 8 + [1] * 8)
    assert chance(labels, multi_positive=False) == pytest.approx(math.log(16))
    assert floor(labels, multi_positive=False) == pytest.approx(math.log(8))
    assert chance(labels, multi_positive=True) == pytest.approx(math.log(2))
    assert floor(labels, multi_positive=True) == 0
    assert floor(torch.arange(5), multi_positive=False) == 0


def test_within_a_class_the_multi_positive_loss_asks_nothing():
    """Two images of one class may differ, as long as both are far from the other class."""
    text = torch.eye(6)[torch.tensor([0, 0, 3, 3])]
    image = F.normalize(
        torch.eye(6)[torch.tensor([0, 0, 3, 3])] + torch.eye(6)[[1, 2, 4, 5]], dim=-1
    )
    labels = torch.tensor([0, 0, 1, 1])
    assert multi_positive_info_nce(image, text, 100.0, labels).item() == pytest.approx(0, abs=1e-5)


def test_losses_are_computed_in_float32_under_autocast():
    image, text = embeddings(), embeddings(seed=1)
    plain = info_nce(image, text, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(image, text, 100.0), plain)


def test_images_and_texts_play_the_same_role():
    image, text = embeddings(len(LABELS)), embeddings(len(LABELS), seed=1)
    for multi_positive in (False, True):
        one = loss(image, text, 9.0, LABELS, multi_positive)
        assert one == pytest.approx(loss(text, image, 9.0, LABELS, multi_positive), abs=1e-6)


def test_an_image_of_two_labels_is_best_between_their_words():
    """Half and half: the lowest loss is the log of 2, reached where both words are equally near and all others far."""
    words, shares = torch.eye(4), torch.tensor([[0.5, 0.5, 0, 0]])
    between = F.normalize(torch.tensor([[1.0, 1, 0, 0]]), dim=-1)
    assert label_loss(between, words, 100.0, shares).item() == pytest.approx(math.log(2), abs=1e-5)
    for other in ([1.0, 0, 0, 0], [2.0, 1, 0, 0], [0, 0, 1.0, 0]):
        assert label_loss(F.normalize(torch.tensor([other]), dim=-1), words, 100.0, shares) > 1


def test_the_label_loss_of_one_label_is_a_cross_entropy():
    image, words = embeddings(), embeddings(3, seed=1)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    wanted = F.cross_entropy(9 * image @ words.T, labels)
    torch.testing.assert_close(label_loss(image, words, 9.0, F.one_hot(labels).float()), wanted)
