"""Photos come in a fixed order; splits share none; the same numbers give the same draws."""

import pytest
import torch

from daclip_lab.data.image_io import read_image
from daclip_lab.data.photos import BUNDLED, Photos, image_folder, sample_photos
from daclip_lab.data.seeding import choose, seeded, uniform
from daclip_lab.errors import InputError


@pytest.fixture(scope="module")
def photos(photo_folder):
    return image_folder(photo_folder)


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


def test_uniform_and_choose_stay_in_their_ranges_and_fill_them():
    generator = seeded(0)
    numbers = torch.tensor([uniform(generator, 2, 5) for _ in range(200)])
    assert 2 <= numbers.min() < 2.3 and 4.7 < numbers.max() <= 5
    assert {choose(generator, 3) for _ in range(50)} == {0, 1, 2}


# ---- photos ----


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
    train, test = sample_photos("train"), sample_photos("test")
    assert (len(train), len(test)) == (len(BUNDLED["train"]), len(BUNDLED["test"]))
    assert len(test) >= 3
    assert not set(train.names) & set(test.names)
    assert min(min(p.shape[-2:]) for p in test) >= 64
    with pytest.raises(InputError, match="'validation' is unknown"):
        sample_photos("validation")


def test_an_empty_list_of_photos_is_refused(tmp_path):
    with pytest.raises(InputError, match="no photos"):
        Photos([])
    with pytest.raises(InputError, match="holds no image"):
        image_folder(tmp_path)


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
