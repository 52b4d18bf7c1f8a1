"""The distance of two sets of images: laws, a case with a known answer, and photos against blurred and noisy ones."""

import pytest
import torch
from torch.nn import functional as F

from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.errors import InputError
from daclip_lab.metrics.sliced_wasserstein import laplacian_pyramid, sliced_wasserstein


@pytest.fixture(scope="module")
def halves():
    """Two sets of 56 crops of 96 pixels, of the same eight photos but without a common pixel."""
    crops = [
        p.unfold(1, 96, 96).unfold(2, 96, 96).flatten(1, 2)[:, :28:2] for p in sample_photos("test")
    ]
    every = torch.stack(crops).transpose(1, 2)  # photos, crops, channels, h, w
    return every[:, ::2].flatten(0, 1), every[:, 1::2].flatten(0, 1)


def distance(images, others, **options):
    return sliced_wasserstein(images, others, **{"directions": 32} | options)


def blurred(images, sigma):
    x = torch.arange(-12, 13.0)
    line = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 25, 25)
    return F.conv2d(F.pad(images, (12,) * 4, "reflect"), kernel, groups=3)


def noisy(images, std):
    noise = torch.randn(images.shape, generator=seeded(1))
    return (images + std / 255 * noise).clamp(0, 1)


def test_it_is_a_symmetric_distance_of_sets_that_depends_on_the_seed_alone(halves):
    a, b = (half[::4] for half in halves)
    assert distance(a, a.flip(0)).tolist() == [0, 0, 0]
    assert torch.equal(distance(a, b), distance(b, a))
    mixed = torch.randperm(len(a), generator=seeded(2))
    assert torch.allclose(distance(a[mixed], b), distance(a, b), rtol=1e-5)
    assert torch.equal(distance(a, b, seed=3), distance(a, b, seed=3))
    assert not torch.equal(distance(a, b, seed=3), distance(a, b, seed=4))


def test_white_noise_of_two_strengths_has_the_known_distance():
    """Projections on unit vectors are normal: W1 of N(0, s²) and N(0, u²) is |s - u| sqrt(2 / pi)."""
    noise = 0.5 + torch.randn(2, 16, 3, 30, 30, generator=seeded(0)) * torch.tensor(
        [0.01, 0.03]
    ).view(2, 1, 1, 1, 1)
    found = distance(*noise)
    assert len(found) == 1  # half of 30 would be smaller than 16
    pooled = ((0.01**2 + 0.03**2) / 2) ** 0.5
    assert found.item() == pytest.approx(0.02 * (2 / torch.pi) ** 0.5 / pooled, rel=0.05)


def test_the_pyramid_adds_up_and_its_fine_levels_are_free_of_constants(halves):
    images = halves[0][:2, :, :95, :70]
    levels = laplacian_pyramid(images)
    assert [level.shape[-2:] for level in levels] == [(95, 70), (48, 35), (24, 18)]
    grey = laplacian_pyramid(torch.full((1, 3, 95, 70), 0.3))
    assert all(level.abs().max() < 1e-6 for level in grey[:-1])
    torch.testing.assert_close(grey[-1], torch.full((1, 3, 24, 18), 0.3))
    whole = levels[-1]
    for level in levels[-2::-1]:
        spread = torch.zeros_like(level)
        spread[..., ::2, ::2] = whole
        line = torch.tensor([1, 4, 6, 4, 1]) / 8
        kernel = (line[:, None] * line).expand(3, 1, 5, 5)
        whole = level + F.conv2d(F.pad(spread, (2,) * 4, "reflect"), kernel, groups=3)
    torch.testing.assert_close(whole, images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("worse", [blurred, noisy])
def test_it_grows_with_blur_and_with_noise_at_the_finest_level_first(halves, worse):
    levels = torch.stack([distance(worse(halves[0], by), halves[0]) for by in (0.5, 1, 2, 4)])
    assert (levels.mean(1).diff() > 0).all()
    assert (levels[:, :-1] > levels[:, 1:]).all()


def test_other_crops_of_the_same_photos_are_nearer_than_a_slight_blur_or_noise(halves):
    """No pixel of the two sets is shared, yet a blur of 1 pixel or noise of 10 of 255 counts more than the content."""
    a, b = halves
    same = distance(a, b).mean()
    assert same < 0.08
    assert distance(blurred(a, 1), b).mean() > 2 * same
    assert distance(noisy(a, 10), b).mean() > 2 * same


@pytest.mark.parametrize(
    ("images", "others", "named"),
    [
        (torch.zeros(2, 3, 32, 32), torch.zeros(3, 3, 32, 32), "(3, 3, 32, 32)"),
        (torch.zeros(2, 3, 15, 32), torch.zeros(2, 3, 15, 32), "16x16"),
        (torch.zeros(3, 32, 32), torch.zeros(3, 32, 32), "(3, 32, 32)"),
        (torch.zeros(1, 3, 16, 16).byte(), torch.zeros(1, 3, 16, 16), "uint8"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(images, others, named):
    with pytest.raises(InputError) as refused:
        sliced_wasserstein(images, others)
    assert named in str(refused.value)
