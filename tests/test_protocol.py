"""A protocol makes the same images at every run, and its number changes with whatever would change them."""

import dataclasses

import pytest
import torch

from daclip_lab.data.photos import image_folder
from daclip_lab.degradations.registry import DEGRADATIONS, LABELS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.protocol import (
    VERSION,
    Protocol,
    clean_crops,
    degraded_crops,
    mixed_crops,
)

PROTOCOL = Protocol(crop=32, steps=1)


def changed(**fields):
    return dataclasses.replace(PROTOCOL, **fields)


@pytest.fixture(scope="module")
def photos(photo_folder):
    return image_folder(photo_folder)


def test_the_hash_changes_with_every_field_and_with_nothing_else(monkeypatch):
    changes = {
        "crop": None,
        "crops": 2,
        "severity": (0.2, 1.0),
        "mixtures": 3,
        "view": "crops",
        "window": 64,
        "steps": 7,
        "sampler": "ddim",
        "seed": 1,
        "degradations": ("hazy", "rainy"),
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Protocol)}
    hashes = {changed(**{k: v}).hash for k, v in changes.items()}
    assert len(hashes | {PROTOCOL.hash}) == len(changes) + 1
    assert Protocol().hash == Protocol().hash
    before = Protocol().hash
    monkeypatch.setattr("daclip_lab.evaluation.protocol.VERSION", VERSION + 1)
    assert Protocol().hash != before
    monkeypatch.undo()
    assert changed(degradations=DEGRADATIONS).hash == PROTOCOL.hash


def test_what_is_left_to_the_weights_is_filled_in(pipe):
    """None is not a number: two pipelines could take different ones under the same hash."""
    resolved = Protocol().resolve(pipe.settings)
    assert (resolved.steps, resolved.view) == (pipe.settings.steps, pipe.settings.view)
    assert resolved.window is None and changed(window=9).resolve(pipe.settings).window == 9
    assert resolved == resolved.resolve(pipe.settings)
    assert Protocol(steps=9, view="resize").resolve(pipe.settings).steps == 9


def test_values_that_cannot_be_are_named():
    for field, value in (("crop", 0), ("crops", 0), ("steps", 0), ("window", 0), ("mixtures", -1)):
        with pytest.raises(InputError, match=f"{field}={value}"):
            Protocol(**{field: value})
    for field in ("view", "sampler"):
        with pytest.raises(InputError, match=f"{field} 'odd' is unknown: use one of"):
            Protocol(**{field: "odd"})


def test_crops_of_a_photo_come_back_and_all_are_different(photos):
    protocol = changed(crops=2)
    clean, degraded, facts = degraded_crops(photos, 1, protocol)
    again = degraded_crops(photos, 1, protocol)
    assert torch.equal(degraded, again[1])
    assert facts == again[2]
    assert clean.shape == degraded.shape == (22, 3, 32, 32)
    assert [fact["degradation"] for fact in facts] == [*LABELS] * 2
    assert [fact["crop"] for fact in facts] == [0] * 11 + [1] * 11
    assert {fact["photo"] for fact in facts} == {"face"}
    assert torch.equal(torch.stack(clean_crops(photos, 1, protocol)), clean[::11])
    assert not torch.equal(clean[0], clean[11])
    for fact in facts:
        low, high = (0, 0) if fact["degradation"] == "clean" else protocol.severity
        assert low <= fact["severity"] <= high


def test_mixtures_carry_two_different_degradations_and_change_nothing_else(photos):
    protocol = changed(mixtures=20, crops=2)
    clean, mixed, facts = mixed_crops(photos, 0, protocol)
    assert torch.equal(mixed, mixed_crops(photos, 0, protocol)[1])
    assert clean.shape == mixed.shape == (40, 3, 32, 32)
    assert all(fact["first"] != fact["second"] for fact in facts)
    assert {fact[place] for fact in facts for place in ("first", "second")} == set(DEGRADATIONS)
    assert all(0.3 <= fact[f"severity_{n}"] <= 1 for fact in facts for n in ("first", "second"))
    assert torch.equal(clean[0], clean_crops(photos, 0, protocol)[0])
    alone = degraded_crops(photos, 0, changed(mixtures=0, crops=2))[1]
    assert torch.equal(alone, degraded_crops(photos, 0, protocol)[1])
    with pytest.raises(InputError, match="mixtures=0"):
        mixed_crops(photos, 0, changed(mixtures=0))


def test_whole_photos_keep_their_orientation(tmp_path, photo):
    from daclip_lab.data.image_io import save_image

    save_image(photo, tmp_path / "a.png")
    save_image(photo.transpose(1, 2).contiguous(), tmp_path / "b.png")
    both = image_folder(tmp_path)
    sizes = [degraded_crops(both, k, changed(crop=None))[1].shape[-2:] for k in (0, 1)]
    assert sizes == [(72, 80), (80, 72)]
    assert torch.equal(clean_crops(both, 0, changed(crop=None))[0], both[0])


def test_a_photo_smaller_than_the_crop_is_named(photos):
    with pytest.raises(InputError, match="photo cup is 96x64 pixels: wanted at least 65x65"):
        degraded_crops(photos, 0, changed(crop=65))


def test_weights_of_one_degradation_have_no_mixtures(pipe):
    settings = dataclasses.replace(pipe.settings, labels=("hazy", "clean"))
    resolved = PROTOCOL.resolve(settings)
    assert resolved.labels == ("hazy", "clean") and resolved.mixtures == 0
