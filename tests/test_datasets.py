"""Batch k depends on (seed, k) alone; what is made on the fly has the shares and severities asked for."""

import pickle
from dataclasses import replace

import pytest
import torch

from daclip_lab.data.image_io import save_image
from daclip_lab.data.pairs import PairFolder
from daclip_lab.data.photos import image_folder
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, DatasetSource, Synthetic
from daclip_lab.errors import InputError
from daclip_lab.training.restoration import train_restorer


def same(a, b):
    return (
        torch.equal(a.clean, b.clean)
        and torch.equal(a.degraded, b.degraded)
        and (a.labels, a.captions) == (b.labels, b.captions)
    )


@pytest.fixture(scope="module")
def photos(photo_folder):
    return image_folder(photo_folder)


@pytest.fixture
def pairs(tmp_path, photo):
    """Two degradations with two pairs each, whose degraded image is the clean one at half the brightness."""
    for name in ("hazy", "rainy"):
        for number in range(2):
            clean = photo[:, number : number + 64, : 70 + number]
            for kind, image in (("GT", clean), ("LQ", clean / 2)):
                path = tmp_path / name / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_image(image, path)
    return tmp_path


# ---- batches ----


@pytest.mark.parametrize("kind", ["photos", "scenes", "pairs"])
def test_batch_k_depends_on_seed_and_k_alone(kind, photos, pairs):
    source = {
        "photos": Synthetic(photos=photos, scene_prob=0.3),
        "scenes": Synthetic(photos=None),
        "pairs": PairFolder(pairs),
    }[kind]
    one, two = (Batches(source, size=32, batch=3, seed=5) for _ in range(2))
    forward = [one[k] for k in (0, 1, 7)]
    backward = [two[k] for k in (7, 1, 0)][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True))
    assert not same(forward[0], forward[1])
    assert not same(one[0], Batches(source, size=32, batch=3, seed=6)[0])


def test_drawing_touches_no_global_randomness(photos):
    before = torch.get_rng_state()
    Batches(Synthetic(photos=photos, scene_prob=0.5), size=32, batch=2)[0]
    assert torch.equal(before, torch.get_rng_state())


def test_sources_can_be_sent_to_another_process(photos, pairs):
    """Where processes are spawned, as on macOS and Windows, the makers of batches receive the source by pickle."""
    for source in (Synthetic(photos=photos), PairFolder(pairs)):
        batches = Batches(source, size=32, batch=2)
        assert same(pickle.loads(pickle.dumps(batches))[3], batches[3])


@pytest.mark.parametrize("kind", ["photos", "scenes", "pairs", "pairs, whole", "dataset"])
def test_without_captions_the_images_are_the_same(kind, photos, pairs, photo):
    source = {
        "photos": Synthetic(photos=photos, scene_prob=0.3, second_degradation_prob=0.5),
        "scenes": Synthetic(photos=None),
        "pairs": PairFolder(pairs),
        "pairs, whole": PairFolder(pairs, crop="whole"),
        "dataset": DatasetSource(Darker(photo)),
    }[kind]
    full, bare = (Batches(source, size=32, batch=4, seed=1, captions=c)[2] for c in (True, False))
    assert all(full.captions) and bare.captions == [""] * 4
    assert same(replace(full, captions=bare.captions), bare)


def test_no_caption_is_made_where_none_is_wanted(photos, pairs, photo, monkeypatch):
    def refuse(image):
        raise AssertionError("a caption was made")

    monkeypatch.setattr("daclip_lab.data.training_pairs.caption", refuse)
    monkeypatch.setattr("daclip_lab.data.pairs.caption", refuse)
    for source in (Synthetic(photos=photos), PairFolder(pairs), DatasetSource(Darker(photo))):
        Batches(source, size=16, batch=2, captions=False)[0]
        with pytest.raises(AssertionError, match="caption"):
            Batches(source, size=16, batch=2)[0]


# ---- datasets of pairs ----


class Darker(torch.utils.data.Dataset):
    """Three photos and the same at other brightnesses."""

    def __init__(self, photo, captions=False):
        self.photo, self.captions = photo, captions

    def __len__(self):
        return 3

    def __getitem__(self, index):
        item = (self.photo * (0.3 + 0.2 * index), self.photo, ("low-light", "hazy", "rainy")[index])
        return (*item, f"number {index}") if self.captions else item


def test_any_dataset_of_pairs_is_a_source(photo):
    source, generator = DatasetSource(Darker(photo, captions=True)), seeded(1)
    drawn = [source.draw(generator, 24) for _ in range(20)]
    assert {(e.label, e.caption) for e in drawn} == {
        ("low-light", "number 0"),
        ("hazy", "number 1"),
        ("rainy", "number 2"),
    }
    for example in drawn:
        share = 0.3 + 0.2 * int(example.caption[-1])
        assert torch.equal(example.degraded, example.clean * share)
        windows = photo.unfold(1, 24, 1).unfold(2, 24, 1)
        assert (windows == example.clean[:, None, None]).all(0).all(-1).all(-1).any()
    assert not all(torch.equal(drawn[0].clean, example.clean) for example in drawn)


def test_a_dataset_is_trained_on(photo, scale):
    losses = []
    for _ in range(2):
        net, sde = scale.build_restorer(seed=1), scale.build_sde()
        recipe = replace(scale.restorer, steps=2, batch_size=2, image_size=24)
        steps = train_restorer(net, None, sde, DatasetSource(Darker(photo)), recipe)
        losses.append([step.loss for step in steps])
    assert len(losses[0]) == 2 and losses[0] == losses[1]


@pytest.mark.parametrize(
    ("degraded", "clean"), [((3, 40, 40), (3, 40, 41)), ((3, 20, 40),) * 2, ((1, 40, 40),) * 2]
)
def test_items_that_are_no_pair_are_refused(degraded, clean):
    source = DatasetSource([(torch.zeros(degraded), torch.zeros(clean), "hazy")])
    with pytest.raises(InputError, match=rf"item 0 .*\({degraded[0]}, {degraded[1]}"):
        source.draw(seeded(0), 24)


def test_items_of_whole_numbers_are_refused():
    levels = torch.full((3, 40, 40), 200, dtype=torch.uint8)
    source = DatasetSource([(levels / 255, levels, "hazy")])
    with pytest.raises(InputError, match=r"item 0 .*torch\.uint8"):
        source.draw(seeded(0), 24)


# ---- pairs made on the fly ----


def test_one_degradation_alone_has_no_second(photos):
    source = Synthetic(photos=photos, degradations=("hazy",), second_degradation_prob=1)
    assert set(Batches(source, size=16, batch=30)[0].labels) <= {"hazy", "clean"}


def test_synthetic_shares_are_as_asked(photos):
    generator = seeded(2)

    def labels(**settings):
        source = Synthetic(photos=photos, **settings)
        return [source.draw(generator, 16, captions=False).label for _ in range(30)]

    assert set(labels(clean_prob=1.0)) == {"clean"}
    never = labels(clean_prob=0.0, degradations=("hazy", "noisy"), second_degradation_prob=1.0)
    assert set(never) == {"hazy", "noisy"}
    never = labels(clean_prob=0.0)
    assert "clean" not in never
    assert len(set(never)) > 5
    some = [label for _ in range(10) for label in labels(clean_prob=0.3)]
    assert 0.22 < some.count("clean") / len(some) < 0.38


def test_severities_lie_in_their_range_and_clean_has_none(photos):
    generator, source = seeded(3), Synthetic(photos=photos, severity=(0.4, 0.6), clean_prob=0.5)
    for _ in range(20):
        example = source.draw(generator, 16)
        if example.label == "clean":
            assert example.severity == 0
        else:
            assert 0.4 <= example.severity <= 0.6
            assert not torch.equal(example.clean, example.degraded)


def test_the_caption_describes_the_clean_image(photos):
    from daclip_lab.data.captions.attributes import caption

    example = Synthetic(photos=photos).draw(seeded(4), 32)
    assert example.caption == caption(example.clean)
