"""CLIP speaks plain text and images in [0, 1]; its small vocabulary and its views of an image keep their promises."""

import inspect
import warnings

import open_clip
import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch.nn import functional as F

from daclip_lab.errors import InputError
from daclip_lab.models.clip import Clip, ClipConfig, named_config, views, vocabulary_of

TEXTS = ["a hazy photo", "rain streaks on a red car", "low-light", "two dogs, one cat!"]


def config(vocabulary=()):
    return ClipConfig(
        embed_dim=16,
        vision={"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        text={"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        vocabulary=vocabulary,
    )


@pytest.fixture(scope="module")
def clip(scale):
    return scale.build_clip(seed=5).eval()


@pytest.fixture(scope="module")
def full():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Clip(config()).eval()


def coordinates(h, w):
    """An image (3, h, w) whose first two channels say where each pixel is."""
    y = torch.arange(h).float()[:, None].expand(h, w) / 1000
    x = torch.arange(w).float()[None].expand(h, w) / 1000
    return torch.stack([y, x, torch.zeros(h, w)])


# ---- open_clip ----


def test_the_private_names_of_open_clip_exist(clip):
    """DaCLIP walks an image tower by these; a new open_clip that lacks them or changes them must be noticed."""
    visual = clip.visual
    assert isinstance(visual, VisionTransformer)
    assert list(inspect.signature(VisionTransformer._embeds).parameters) == ["self", "x"]
    assert list(inspect.signature(VisionTransformer._pool).parameters) == ["self", "x"]
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = visual._embeds(images)
        assert tokens.shape == (2, 17, 32)
        for block in visual.transformer.resblocks:
            tokens = block(tokens)
        walked = visual._pool(tokens)[0] @ visual.proj
        torch.testing.assert_close(walked, visual(images))


def test_embeddings_have_length_one(clip):
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for embedding in (clip.encode_image(images), clip.encode_text(["a", "photo", "clean"])):
            assert embedding.shape == (3, 32)
            torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))


def test_images_are_normalised_by_the_configured_statistics(full):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    with torch.no_grad():
        theirs = full.model.encode_image((images - mean) / std, normalize=True)
        torch.testing.assert_close(full.encode_image(images), theirs)


def test_statistics_are_no_part_of_the_weights(clip):
    assert not {"mean", "std"} & set(clip.state_dict())


def test_configurations_by_name():
    found = named_config("ViT-B-32")
    assert (found.embed_dim, found.image_size, found.vision["layers"]) == (512, 224, 12)
    with pytest.raises(InputError, match="ViT-B-33"):
        named_config("ViT-B-33")


# ---- words ----


def test_with_the_whole_table_tokens_and_embeddings_are_open_clips(full):
    theirs = open_clip.SimpleTokenizer(context_length=20)(TEXTS)
    assert torch.equal(full.tokenize(TEXTS), theirs)
    with torch.no_grad():
        wanted = F.normalize(full.model.encode_text(theirs), dim=-1)
        torch.testing.assert_close(full.encode_text(TEXTS), wanted)


def test_a_small_vocabulary_gives_the_same_embeddings(full):
    vocabulary = vocabulary_of(TEXTS)
    assert list(vocabulary) == sorted(set(vocabulary))
    small = Clip(config(vocabulary)).eval()
    weights = full.model.state_dict()
    table = weights["token_embedding.weight"]
    weights["token_embedding.weight"] = torch.cat([torch.zeros(1, 16), table[list(vocabulary)]])
    small.model.load_state_dict(weights)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        torch.testing.assert_close(small.encode_text(TEXTS), full.encode_text(TEXTS))


def test_an_unknown_word_is_named_once_and_the_rest_still_counts(full):
    small = Clip(config(vocabulary_of(TEXTS)))
    with pytest.warns(UserWarning, match="zebra$"):
        tokens = small.tokenize(["a hazy zebra", "zebra", "low-light"])
    assert tokens.max(dim=1).values.unique().tolist() == [len(small.config.vocabulary)]
    assert torch.equal(tokens[2], small.tokenize(["low-light"])[0])


def test_the_vocabulary_of_the_lab_covers_every_word_of_the_lab(scale):
    from daclip_lab.data.prompts import held_out_texts, training_texts
    from daclip_lab.degradations.registry import LABELS

    clip = Clip(scale.clip)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in LABELS:
            clip.tokenize([name, *training_texts(name), *held_out_texts(name)])


# ---- views ----

SIZES = [(1, 1), (5, 200), (31, 32), (32, 32), (33, 32), (64, 64), (65, 130), (100, 40)]


@pytest.mark.parametrize("view", ["resize", "crops", "both"])
@pytest.mark.parametrize(("h", "w"), SIZES)
def test_every_view_has_the_size_of_clip_and_stays_in_range(h, w, view):
    image = torch.rand(3, h, w, generator=torch.Generator().manual_seed(0))
    seen = views(image, 32, view)
    assert seen.shape[1:] == (3, 32, 32)
    assert seen.min() >= 0
    assert seen.max() <= 1
    if view == "resize" or (h, w) == (32, 32):
        assert len(seen) == 1


@pytest.mark.parametrize(("h", "w"), [(33, 32), (64, 64), (65, 130), (100, 40), (200, 210)])
def test_crops_are_native_and_cover_every_pixel(h, w):
    seen = views(coordinates(h, w), 32, "crops", max_crops=64)
    y, x = (seen[:, axis].mul(1000).round().long() for axis in (0, 1))
    assert (y * w + x).unique().tolist() == list(range(h * w))
    assert len(seen) == -(-h // 32) * -(-w // 32)


def test_both_is_the_whole_and_then_the_crops():
    image = torch.rand(3, 70, 50, generator=torch.Generator().manual_seed(0))
    both = views(image, 32, "both")
    assert torch.equal(both[:1], views(image, 32, "resize"))
    assert torch.equal(both[1:], views(image, 32, "crops"))


def test_an_image_of_clips_own_size_is_seen_as_it_is():
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    for view in ("resize", "crops", "both"):
        assert torch.equal(views(image, 32, view), image[None])


def test_the_resized_view_is_open_clips_own():
    """Short side to the model's size, bicubic, centre crop: as the transform that comes with CLIP."""
    from daclip_lab.data.image_io import read_image, to_pil

    smooth = F.interpolate(
        torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0)),
        size=(96, 130),
        mode="bicubic",
    )[0].clamp(0, 1)
    transform = open_clip.image_transform(32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    theirs = transform(to_pil(smooth))
    ours = views(read_image(to_pil(smooth)), 32, "resize")[0]
    # PIL rounds to 8 bits after each of its two passes.
    torch.testing.assert_close(ours, theirs, atol=2.5 / 255, rtol=0)


@pytest.mark.parametrize("most", [1, 7, 48])
@pytest.mark.parametrize(("h", "w"), [(2000, 2000), (32, 4000), (3000, 40)])
def test_large_images_are_sampled_from_edge_to_edge(h, w, most):
    seen = views(coordinates(h, w) / 10, 32, "crops", max_crops=most)
    assert 1 <= len(seen) <= most
    if most >= 7:
        for axis, length in enumerate((h, w)):
            if length > 100:
                assert seen[:, axis].max() == pytest.approx((length - 1) / 10_000)
        corner = [0 if length > 100 else length - 32 for length in (h, w)]
        assert seen[0, :2, 0, 0].mul(10_000).tolist() == pytest.approx([c // 2 for c in corner])


def test_an_unknown_view_is_refused():
    with pytest.raises(InputError, match="'zoom' is unknown"):
        views(torch.rand(3, 40, 40), 32, "zoom")
