"""Batch k depends on (seed, k) alone; what is made on the fly has the shares and severities asked for."""

import pickle

import pytest
import torch

from daclip_lab.data.image_io import save_image
from daclip_lab.data.pairs import PairFolder
from daclip_lab.data.photos import image_folder
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batches, Synthetic
from daclip_lab.degradations.registry import LABELS


def same(a, b):
    return (
        torch.equal(a.clean, b.clean)
        and torch.equal(a.degraded, b.degraded)
        and torch.allclose(a.severity, b.severity, rtol=0, atol=0, equal_nan=True)
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


# ---- labels ----


def test_labels_are_the_ten_names_and_clean():
    assert len(LABELS) == 11
    assert LABELS[-1] == "clean"
    assert LABELS[:2] == ("motion-blurry", "hazy")


# ---- pairs made on the fly ----


def test_synthetic_shares_are_as_asked(photos):
    generator = seeded(2)

    def labels(**settings):
        source = Synthetic(photos=photos, **settings)
        return [source.draw(generator, 16).label for _ in range(30)]

    assert set(labels(clean_prob=1.0)) == {"clean"}
    never = labels(clean_prob=0.0)
    assert "clean" not in never
    assert len(set(never)) > 5


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
