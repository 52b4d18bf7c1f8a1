"""Batch k depends on (seed, k) alone; splits share no photo; pairs are true pairs or are refused."""

import math
import pickle

import pytest
import torch

from daclip_lab.data.datasets import (
    BUNDLED,
    LABELS,
    Batches,
    PairFolder,
    Photos,
    Synthetic,
    bundled,
    folder,
    seeded,
)
from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.errors import InputError


def same(a, b):
    return (
        torch.equal(a.clean, b.clean)
        and torch.equal(a.degraded, b.degraded)
        and torch.allclose(a.severity, b.severity, rtol=0, atol=0, equal_nan=True)
        and (a.labels, a.captions) == (b.labels, b.captions)
    )


@pytest.fixture(scope="module")
def photos(photo_folder):
    return folder(photo_folder)


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


# ---- randomness ----


def first(*numbers):
    """The first draws of the generator that these numbers make."""
    return tuple(torch.rand(4, generator=seeded(*numbers)).tolist())


def test_seeded_is_a_function_of_its_numbers():
    assert first(3, 1) == first(3, 1)
    assert len({first(*numbers) for numbers in [(0,), (1,), (0, 1), (1, 3), (3, 1), (31,)]}) == 6


def test_seeded_tells_a_zero_from_nothing():
    """Photo 0 of seed 5 must not share its draws with seed 5 alone."""
    assert len({first(5), first(5, 0), first(5, 0, 0)}) == 3


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="-1"):
        seeded(-1)


@pytest.mark.parametrize("kind", ["photos", "scenes", "pairs"])
def test_batch_k_depends_on_seed_and_k_alone(kind, photos, pairs):
    source = {
        "photos": Synthetic(photos=photos, scenes=0.3),
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
    Batches(Synthetic(photos=photos, scenes=0.5), size=32, batch=2)[0]
    assert torch.equal(before, torch.get_rng_state())


def test_sources_can_be_sent_to_another_process(photos, pairs):
    """Where processes are spawned, as on macOS and Windows, the makers of batches receive the source by pickle."""
    for source in (Synthetic(photos=photos), PairFolder(pairs)):
        batches = Batches(source, size=32, batch=2)
        assert same(pickle.loads(pickle.dumps(batches))[3], batches[3])


# ---- photos ----


def test_labels_are_the_ten_names_and_clean():
    assert len(LABELS) == 11
    assert LABELS[-1] == "clean"
    assert LABELS[:2] == ("motion-blurry", "hazy")


def test_a_folder_of_photos_in_a_fixed_order(photo_folder, photos):
    assert photos.names == ["cup", "face"]
    assert len(photos) == 2
    assert torch.equal(photos[1], read_image(photo_folder / "face.png"))
    assert [tuple(p.shape) for p in photos] == [(3, 64, 96), (3, 72, 80)]


def test_splits_share_no_photo(tmp_path, photo_folder):
    paths = [photo_folder / "cup.png", photo_folder / "face.png"]
    paths = [tmp_path / f"{i}{path.name}" for i in range(6) for path in paths]
    photos = Photos(paths)
    rest, held = photos.split(held_out=5, seed=1)
    assert (len(rest), len(held)) == (7, 5)
    assert set(rest.paths) | set(held.paths) == set(paths)
    assert not set(rest.paths) & set(held.paths)
    again = photos.split(held_out=5, seed=1)
    assert again[1].paths == held.paths
    assert photos.split(held_out=5, seed=2)[1].paths != held.paths
    for wrong in (0, 12, -1):
        with pytest.raises(InputError, match=f"held_out={wrong}"):
            photos.split(held_out=wrong)


def test_bundled_photos_exist_and_their_splits_share_none():
    train, test = bundled("train"), bundled("test")
    assert (len(train), len(test)) == (len(BUNDLED["train"]), len(BUNDLED["test"]))
    assert len(test) >= 3
    assert not set(train.names) & set(test.names)
    assert min(min(p.shape[-2:]) for p in test) >= 64
    with pytest.raises(InputError, match="'validation' is unknown"):
        bundled("validation")


def test_an_empty_list_of_photos_is_refused(tmp_path):
    with pytest.raises(InputError, match="no photos"):
        Photos([])
    with pytest.raises(InputError, match="holds no image"):
        folder(tmp_path)


@pytest.mark.parametrize("size", [16, 64, 120])
def test_crops_have_the_size_asked_for(photos, size):
    generator = seeded(0)
    for _ in range(6):
        crop = photos.crop(generator, size)
        assert crop.shape == (3, size, size)
        assert 0 <= crop.min() <= crop.max() <= 1


def test_half_of_the_crops_are_native_pixels(photos):
    generator = seeded(1)
    wholes = [p.unfold(1, 8, 1).unfold(2, 8, 1) for p in photos]

    def native(crop):
        return any(
            (windows == square[:, None, None]).all(0).all(-1).all(-1).any()
            for windows in wholes
            for square in (crop, crop.flip(-1))
        )

    share = sum(bool(native(photos.crop(generator, 8))) for _ in range(40)) / 40
    assert 0.25 < share < 0.75


# ---- pairs made on the fly ----


def test_synthetic_shares_are_as_asked(photos):
    generator = seeded(2)

    def labels(**settings):
        source = Synthetic(photos=photos, **settings)
        return [source.draw(generator, 16).label for _ in range(30)]

    assert set(labels(clean=1.0)) == {"clean"}
    never = labels(clean=0.0)
    assert "clean" not in never
    assert len(set(never)) > 5


def test_severities_lie_in_their_range_and_clean_has_none(photos):
    generator, source = seeded(3), Synthetic(photos=photos, severity=(0.4, 0.6), clean=0.5)
    for _ in range(20):
        example = source.draw(generator, 16)
        if example.label == "clean":
            assert example.severity == 0
        else:
            assert 0.4 <= example.severity <= 0.6
            assert not torch.equal(example.clean, example.degraded)


def test_the_caption_describes_the_clean_image(photos):
    from daclip_lab.data.captions import caption

    example = Synthetic(photos=photos).draw(seeded(4), 32)
    assert example.caption == caption(example.clean)


# ---- pairs of files ----


def test_pairs_of_files_stay_pairs(pairs):
    source = PairFolder(pairs)
    assert {k: len(v) for k, v in source.pairs.items()} == {"hazy": 2, "rainy": 2}
    generator, seen = seeded(0), set()
    for _ in range(12):
        example = source.draw(generator, 24)
        assert example.clean.shape == example.degraded.shape == (3, 24, 24)
        # Both files are rounded to 8 bits.
        torch.testing.assert_close(example.degraded, example.clean / 2, atol=1 / 255, rtol=0)
        assert math.isnan(example.severity)
        seen.add(example.label)
    assert seen == {"hazy", "rainy"}


def test_a_missing_partner_is_named(pairs):
    (pairs / "hazy" / "GT" / "1.png").unlink()
    with pytest.raises(InputError, match=r"hazy.LQ.1\.png has no partner"):
        PairFolder(pairs)


def test_partners_may_have_another_extension(pairs, photo):
    (pairs / "hazy" / "GT" / "1.png").unlink()
    save_image(photo[:, 1:65, :71], pairs / "hazy" / "GT" / "1.bmp")
    assert len(PairFolder(pairs).pairs["hazy"]) == 2


def test_pairs_of_unequal_or_too_small_size_are_refused(pairs, photo):
    for size, wanted in [(128, "at least 128x128"), (16, "equal sizes")]:
        if size == 16:
            for path in (pairs / "hazy" / "GT").iterdir():
                save_image(photo[:, :60, :60], path)
        with pytest.raises(InputError, match=wanted) as caught:
            Batches(PairFolder(pairs), size=size, batch=20)[0]
        assert "\n" not in str(caught.value)


def test_a_degradation_without_a_name_of_ours_is_refused(pairs):
    (pairs / "hazy").rename(pairs / "foggy")
    with pytest.raises(InputError, match="foggy"):
        PairFolder(pairs)


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no pairs"):
        PairFolder(tmp_path)
