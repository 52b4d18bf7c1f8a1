"""Photos come in a fixed order; splits share none; the same numbers give the same draws."""

import pytest
import torch

from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.data.photos import Photos, image_folder, sample_photos
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


def test_a_zero_makes_another_generator_than_no_number():
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


def test_sample_photos_exist_and_their_splits_share_none():
    train, test = sample_photos("train"), sample_photos("test")
    assert (len(train), len(test)) == (6, 8)
    assert test.names[0] == "colosseum" and "osprey" in test.names
    assert not set(train.names) & set(test.names)
    assert {tuple(photo.shape) for photo in test} == {(3, 448, 672)}
    # A clean photo that is dark all over would pass for low light.
    assert min(photo.mean() for photo in test) > 0.15
    with pytest.raises(InputError, match="'validation' is unknown"):
        sample_photos("validation")


def test_the_test_photos_need_no_other_package(monkeypatch):
    monkeypatch.setattr("daclip_lab.data.photos.find_spec", lambda package: None)
    assert len(sample_photos("test")) == 8
    with pytest.raises(InputError, match="astronaut"):
        sample_photos("train")


@pytest.mark.parametrize(("fit", "reads"), [(2, "ababa"), (1, "aabaabba")])
def test_decoded_photos_stay_within_a_budget_of_bytes(tmp_path, monkeypatch, fit, reads):
    for name in "abc":
        save_image(torch.zeros(3, 10, 20), tmp_path / f"{name}.png")
    photos = Photos([tmp_path / f"{name}.png" for name in "abc"], max_bytes=fit * 600)
    opened = []
    monkeypatch.setattr(
        "daclip_lab.data.photos.read_image",
        lambda image: opened.append(image.stem) or read_image(image),
    )
    for name in reads:
        photos._decode("abc".index(name))
    assert len(opened) == {2: 2, 1: 5}[fit]
    photos._decode(2)
    photos._decode("ab".index(reads[-1]))
    assert len(photos._decoded) <= fit and opened[-1] == ("c" if fit == 2 else "a")


def test_a_photo_beyond_the_budget_is_read_and_not_kept(photo_folder):
    photos = Photos([photo_folder / "cup.png"], max_bytes=100)
    assert photos[0].shape == (3, 64, 96) and not photos._decoded


def test_the_hash_is_of_contents_not_of_names(tmp_path, photo_folder):
    cup, face = photo_folder / "cup.png", photo_folder / "face.png"
    copies = [tmp_path / "1.png", tmp_path / "2.png"]
    for path, copy in zip((cup, face), copies, strict=True):
        copy.write_bytes(path.read_bytes())
    known = Photos([cup, face]).content_hash
    assert Photos(copies).content_hash == known
    assert Photos(copies[::-1]).content_hash != known
    copies[1].write_bytes(cup.read_bytes())
    assert Photos(copies).content_hash != known
    with pytest.raises(InputError, match=r"gone\.png"):
        _ = Photos([tmp_path / "gone.png"]).content_hash


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
