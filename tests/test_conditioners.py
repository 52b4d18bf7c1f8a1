"""Conditionings: each kind gives the embeddings it names, and zeros for the others; the seed decides what is random."""

import pytest
import torch

from daclip_lab.ablation.conditioners import KINDS, conditioned
from daclip_lab.degradations.registry import CLEAN
from daclip_lab.errors import InputError
from daclip_lab.models.daclip import Embeddings

LABELS = ["hazy", "rainy", "snowy"] * 2
PHOTOS = ["cup"] * 3 + ["face"] * 3
N = len(LABELS)


@pytest.fixture(scope="module")
def images():
    """Six clean images and what is given instead of them."""
    clean = torch.rand(N, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return {"clean": clean, "degraded": clean.flip(0) ** 2}


@pytest.fixture
def made(pipe, images):
    """Embeddings of a kind for the six images."""

    def make(kind, **changes):
        given = {**images, "labels": LABELS, "photos": PHOTOS, **changes}
        return conditioned(pipe, kind, **given)

    return make


def places(pipe, rows):
    """The labels whose words the rows are; every row must be a word."""
    found = []
    for row in rows:
        (place,) = torch.nonzero((pipe.word_embeddings == row).all(1))[:, 0].tolist()
        found.append(pipe.settings.labels[place])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_a_row_for_each_image_that_a_training_can_use(pipe, made, kind):
    found = made(kind)
    for part in found:
        assert part.shape == (N, pipe.word_embeddings.shape[1])
        assert part.device == pipe.device and torch.isfinite(part).all()
        assert not part.is_inference() and not part.requires_grad
    assert any(part.any() for part in found) == (kind != "nothing")


@pytest.mark.parametrize("kind", ["CLIP's word", "DA-CLIP's embeddings"])
def test_a_list_of_images_is_as_good_as_a_tensor(made, images, kind):
    for one, other in zip(
        made(kind), made(kind, **{k: list(v) for k, v in images.items()}), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_clips_embedding_takes_the_place_of_the_content(pipe, made, images):
    found = made("CLIP's embedding")
    assert torch.equal(found.content, pipe.encode_clip(list(images["degraded"])))
    assert not found.degradation.any()


def test_da_clips_own_embeddings_are_those_of_the_pipeline(pipe, made, images):
    own = pipe.encode(list(images["degraded"]))
    zeros = torch.zeros_like(own.content)
    for kind, expected in {
        "DA-CLIP's embeddings": own,
        "DA-CLIP's content": Embeddings(own.content, zeros),
        "DA-CLIP's degradation": Embeddings(zeros, own.degradation),
    }.items():
        for part, wanted in zip(made(kind), expected, strict=True):
            assert torch.equal(part, wanted), kind


@pytest.mark.parametrize("kind", ["CLIP's word", "DA-CLIP's word", "true word", "wrong word"])
def test_words_are_those_of_the_weights_and_come_without_content(pipe, made, kind):
    found = made(kind)
    assert not found.content.any()
    assert CLEAN not in places(pipe, found.degradation)


def test_the_word_found_is_the_nearest_of_the_ten(pipe, made, monkeypatch):
    """An image that looks clean gets the nearest of the ten words, too."""
    words, labels = pipe.word_embeddings, list(pipe.settings.labels)
    features = words[[labels.index(name) for name in [*LABELS[:-1], CLEAN]]]
    features = features + 0.01 * torch.randn(
        features.shape, generator=torch.Generator().manual_seed(0)
    )
    monkeypatch.setattr(pipe, "encode_clip", lambda images: features)
    monkeypatch.setattr(pipe, "encode", lambda images: Embeddings(-features, features))
    for kind in ("CLIP's word", "DA-CLIP's word"):
        found = places(pipe, made(kind).degradation)
        ten = [name for name in labels if name != CLEAN]
        nearest = max(ten, key=lambda name: float(features[-1] @ words[labels.index(name)]))
        assert found == [*LABELS[:-1], nearest]


def test_the_truth_is_the_word_of_the_label_and_the_embedding_of_the_clean_image(
    pipe, made, images
):
    for kind in ("true word", "true word and clean content"):
        assert places(pipe, made(kind).degradation) == LABELS
    oracle = made("true word and clean content")
    assert torch.equal(oracle.content, pipe.encode_clip(list(images["clean"])))


def test_a_wrong_word_is_any_of_the_ten_but_the_own_one(pipe, made):
    many = {"clean": torch.zeros(300, 3, 8, 8), "degraded": torch.zeros(300, 3, 8, 8)}
    labels = ["hazy", "rainy", "snowy"] * 100
    words = made("wrong word", **many, labels=labels, photos=labels).degradation
    drawn = places(pipe, words)
    for own in set(labels):
        others = {word for word, label in zip(drawn, labels, strict=True) if label == own}
        assert others == set(pipe.settings.labels) - {CLEAN, own}


def test_the_content_of_another_photo_is_that_of_the_same_degradation(made):
    own, found = made("DA-CLIP's embeddings"), made("another photo's content")
    assert torch.equal(found.degradation, own.degradation)
    assert torch.equal(found.content, own.content.roll(3, 0))  # two photos: that of the other one


def test_the_seed_decides_what_is_random(made):
    three = {"photos": [*"abcdef"], "labels": ["hazy"] * N}
    for kind in ("wrong word", "another photo's content"):
        first, again, other = (torch.cat(made(kind, seed=seed, **three)) for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_images_above_clips_size_are_seen_in_views(pipe, photo):
    """As in use: an image of any size has the pooled embeddings of the pipeline."""
    given = {"clean": [photo, photo[:, :40]], "labels": ["hazy"] * 2, "photos": ["a", "b"]}
    given["degraded"] = given["clean"]
    found = conditioned(pipe, "DA-CLIP's embeddings", **given)
    assert torch.equal(found.content, pipe.encode(given["clean"]).content)


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("CLIP", {}, "'CLIP'.*DA-CLIP's word"),
        ("true word", {"labels": ["hazy"] * (N - 1) + ["foggy"]}, "'foggy'.*hazy"),
        ("true word", {"labels": LABELS[1:]}, f"{N - 1}"),
        ("nothing", {"photos": PHOTOS[1:]}, f"{N - 1}"),
        ("another photo's content", {"photos": ["cup"] * N}, "photo cup"),
    ],
)
def test_what_cannot_be_is_named(made, kind, changes, named):
    with pytest.raises(InputError, match=named):
        made(kind, **changes)
