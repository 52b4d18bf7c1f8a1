"""The measures are the field's: they agree with the libraries that people know, and keep the laws they promise."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from daclip_lab.errors import InputError
from daclip_lab.files.sources import SOURCES
from daclip_lab.metrics import image_quality
from daclip_lab.metrics.image_quality import (
    crop_border,
    fid,
    frechet_distance,
    gradient_similarity,
    lpips,
    ms_ssim,
    psnr,
    ssim,
    to_y,
)


@pytest.fixture(scope="module")
def two():
    """Two photos of 192x176 pixels, noisy and clean."""
    from skimage import data

    clean = torch.from_numpy(np.stack([data.astronaut()[:192, 90:266], data.coffee()[:192, :176]]))
    clean = clean.permute(0, 3, 1, 2) / 255
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return (clean + 0.1 * noise).clamp(0, 1), clean


# ---- pixels and structure ----


def test_psnr_agrees_with_scikit_image_and_torchmetrics(two):
    from skimage.metrics import peak_signal_noise_ratio
    from torchmetrics.functional.image import peak_signal_noise_ratio as by_torchmetrics

    image, clean = two
    ours = psnr(image, clean).tolist()
    theirs = by_torchmetrics(image, clean, data_range=1.0, reduction=None, dim=(1, 2, 3))
    assert ours == pytest.approx(theirs.tolist(), abs=1e-4)
    pairs = zip(clean.numpy(), image.numpy(), strict=True)
    assert ours == pytest.approx(
        [peak_signal_noise_ratio(c, i, data_range=1.0) for c, i in pairs], abs=1e-4
    )


def test_ssim_agrees_with_scikit_image_and_torchmetrics(two):
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    image, clean = two
    ours = ssim(image, clean).tolist()
    # torchmetrics' own mean also counts windows that hang over the edge, filled by reflection.
    _, places = structural_similarity_index_measure(
        image, clean, data_range=1.0, return_full_image=True
    )
    assert ours == pytest.approx(places[..., 5:-5, 5:-5].mean((1, 2, 3)).tolist(), abs=1e-4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(clean.numpy(), image.numpy(), strict=True)
    theirs = [structural_similarity(*p, channel_axis=0, data_range=1.0, **options) for p in pairs]
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_ms_ssim_agrees_with_torchmetrics(two):
    """Not to the last digit: at the coarsest scale, torchmetrics counts windows that hang over the edge."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    theirs = multiscale_structural_similarity_index_measure(*two, data_range=1.0, reduction=None)
    assert ms_ssim(*two).tolist() == pytest.approx(theirs.tolist(), abs=1e-3)


def test_ms_ssim_uses_as_many_scales_as_fit(two):
    small = [images[..., :21, :40] for images in two]
    assert torch.allclose(ms_ssim(*small), ssim(*small))
    images, clean = (images[..., :22, :40] for images in two)
    fine, coarse = image_quality.SCALES[0], image_quality.SCALES[1]
    contrast = image_quality._structure(images, clean)[1] ** (fine / (fine + coarse))
    halves = [F.avg_pool2d(x, 2) for x in (images, clean)]
    assert torch.allclose(
        ms_ssim(images, clean), contrast * ssim(*halves) ** (coarse / (fine + coarse))
    )


def test_ms_ssim_of_an_inverted_image_is_zero_and_not_nan(two):
    assert ms_ssim(1 - two[1], two[1]).tolist() == [0, 0]


def test_gradient_similarity_is_the_mean_of_the_map_of_xue(two):
    from scipy.signal import convolve2d

    def magnitude(image):
        grey = np.tensordot([0.299, 0.587, 0.114], image.double().numpy(), 1)
        half = grey.reshape(96, 2, 88, 2).mean((1, 3))
        kernel = np.array([[1, 0, -1]] * 3) / 3
        return np.hypot(*(convolve2d(half, k, "valid") for k in (kernel, kernel.T)))

    for ours, *pair in zip(gradient_similarity(*two), *two, strict=True):
        a, b = map(magnitude, pair)
        places = (2 * a * b + 170 / 255**2) / (a**2 + b**2 + 170 / 255**2)
        assert ours.item() == pytest.approx(places.mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("measure", "best"), [(psnr, 60), (ssim, 1), (ms_ssim, 1), (gradient_similarity, 1)]
)
def test_equal_images_have_the_best_marks_and_noise_costs(two, measure, best):
    image, clean = two
    assert measure(clean, clean).tolist() == pytest.approx([best, best], abs=1e-5)
    assert torch.allclose(measure(image, clean)[1:], measure(image[1:], clean[1:]))
    less = clean + 0.5 * (image - clean)
    assert (measure(image, clean) < measure(less, clean)).all()
    assert (measure(less, clean) < best).all()


def test_a_blur_has_better_marks_than_a_sharp_image_one_pixel_off(two):
    """What docs/metrics.md warns of."""
    sharp = two[1].roll(1, -1)[..., 2:-2]
    blurred = F.avg_pool2d(two[1], 3, stride=1, padding=1)[..., 2:-2]
    for measure in (psnr, ssim, ms_ssim):
        assert (measure(blurred, two[1][..., 2:-2]) > measure(sharp, two[1][..., 2:-2])).all()


def test_the_guide_prints_what_its_code_prints(capsys):
    guide = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
    code, printed = re.search(r"```python\n(.+?)```\n\n```\n(.+?)```", guide, re.DOTALL).groups()
    exec(code, {})
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim, gradient_similarity, lpips])
@pytest.mark.parametrize(
    "shape, values",
    [
        ((2, 3, 40, 32), r"\(2, 3, 40, 40\) and \(2, 3, 40, 32\)"),
        ((1, 3, 40, 40), r"\(1, 3, 40, 40\)"),  # would broadcast
        ((2, 3, 1, 1), r"\(2, 3, 1, 1\)"),
        ((3, 40, 40), r"\(3, 40, 40\)"),
    ],
)
def test_unequal_shapes_are_refused_and_named(measure, shape, values):
    with pytest.raises(InputError, match=values):
        measure(torch.rand(2, 3, 40, 40), torch.rand(shape))


@pytest.mark.parametrize(
    "measure, smallest", [(psnr, 1), (ssim, 11), (ms_ssim, 11), (gradient_similarity, 6)]
)
def test_images_below_the_window_and_integers_are_refused(measure, smallest):
    fits = torch.rand(1, 3, smallest, smallest + 1)
    assert measure(fits, fits).item() >= 1
    if smallest > 1:
        with pytest.raises(
            InputError, match=rf"{smallest}x{smallest - 1} .* {smallest}x{smallest}"
        ):
            measure(fits[..., : smallest - 1, :smallest], fits[..., : smallest - 1, :smallest])
    with pytest.raises(InputError, match="uint8"):
        measure(fits.byte(), fits.byte())


# ---- luma and borders ----


def test_luma_is_that_of_matlab(two):
    from skimage.color import rgb2ycbcr

    y = to_y(two[1])
    theirs = rgb2ycbcr(two[1].permute(0, 2, 3, 1).numpy())[..., 0] / 255
    np.testing.assert_allclose(y[:, 0], theirs, atol=1e-6)
    ends = to_y(torch.stack([torch.zeros(3, 1, 1), torch.ones(3, 1, 1)])).flatten()
    assert ends.tolist() == pytest.approx([16 / 255, 235 / 255])


def test_luma_is_measured_like_colours(two):
    y = [to_y(images) for images in two]
    assert torch.allclose(ssim(*y), ssim(*(images.expand(-1, 3, -1, -1) for images in y)))
    assert (psnr(*y) > psnr(*two)).all()


def test_a_border_is_cut_from_all_sides():
    image = torch.arange(30.0).reshape(1, 1, 5, 6)
    assert crop_border(image, 2).tolist() == [[[[14, 15]]]]
    assert torch.equal(crop_border(image, 0), image)
    with pytest.raises(InputError, match=r"6x5 pixels.*border of 3"):
        crop_border(image, 3)


# ---- what networks see ----


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """An empty folder, in which the weights of networks are looked for."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", None)
    image_quality._load.cache_clear()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_addresses_are_those_of_the_libraries():
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision.models import AlexNet_Weights

    urls = {"lpips": AlexNet_Weights.DEFAULT.url, "fid": URL_INCEPTION_V3}
    assert {name: SOURCES[name].files[0].url for name in image_quality.NETWORKS} == urls
    assert {name: SOURCES[name].files[0].name for name in urls} == image_quality.NETWORKS


@pytest.mark.parametrize(
    ("measure", "name"),
    [
        (lpips, "alexnet-owt-7be5be79.pth"),
        (fid, "weights-inception-2015-12-05-6726825d.pth"),
    ],
)
def test_absent_and_broken_weights_are_named(checkpoints, two, measure, name):
    with pytest.raises(
        InputError, match=f"needs {name}, .* not in {checkpoints}: daclip-lab fetch"
    ):
        measure(*two)
    (checkpoints / name).write_bytes(b"<html>404</html>")
    with pytest.raises(
        InputError, match=f"{name} does not hold the weights of {measure.__name__.upper()}"
    ):
        measure(*two)


def test_lpips_is_read_from_the_checkpoints_folder(checkpoints, two):
    from torchvision.models import alexnet

    state = alexnet(weights=None).state_dict()
    for key in state:
        if key.startswith("classifier"):
            state[key] = torch.zeros(1).expand(state[key].shape)  # unused, and one number on disk
    torch.save(state, checkpoints / "alexnet-owt-7be5be79.pth")
    image, clean = two
    distance = lpips(image, clean)
    assert distance.shape == (2,)
    assert (distance > 0).all()
    assert lpips(clean, clean).tolist() == [0, 0]
    assert lpips(image[1:], clean[1:]).item() == pytest.approx(distance[1].item(), rel=1e-4)
    with pytest.raises(InputError, match=r"40x30 .* 31x31"):
        lpips(image[..., :30, :40], clean[..., :30, :40])


@pytest.mark.parametrize("measure, package", [(lpips, "torchmetrics"), (fid, "torch_fidelity")])
def test_without_the_extra_a_measure_is_skipped(checkpoints, two, monkeypatch, measure, package):
    """Its weights may be on the machine all the same."""
    torch.save({}, checkpoints / image_quality.NETWORKS[measure.__name__])
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} .*daclip-lab\[analysis\]"):
        measure(*two)
    found, notes = image_quality.available_networks()
    assert not found and any(package in note for note in notes)


def test_fid_is_read_from_the_checkpoints_folder(checkpoints, two):
    from torchvision.models import inception_v3

    network = inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    torch.save(network.state_dict(), checkpoints / "weights-inception-2015-12-05-6726825d.pth")
    image, clean = two
    assert fid(image, [clean[0], clean[1, :, 32:]]) > 0


def test_frechet_distance_of_known_gaussians():
    """Of N(0, I) and N(m, s² I) in d dimensions it is |m|² + d (1 - s)²."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 4, generator=generator, dtype=torch.float64)
    # Whitened, so that mean and covariance are exact.
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    shift = torch.tensor([1.0, 2.0, 0.0, 0.0])
    assert frechet_distance(x, x + shift) == pytest.approx(5)
    assert frechet_distance(x, 3 * x.flip(0) + shift) == pytest.approx(5 + 4 * 4)
    assert frechet_distance(x, x.flip(0)) == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="two"):
        frechet_distance(x, x[:1])


@pytest.mark.parametrize("count", [5, 60])
def test_frechet_distance_agrees_with_torchmetrics(count):
    """Also for fewer images than features."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(count, 8, generator=generator), torch.rand(count + 3, 8, generator=generator)
    features = torch.nn.Identity()
    features.num_features = 8
    theirs = FrechetInceptionDistance(feature=features, normalize=True)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert frechet_distance(x, y) == pytest.approx(theirs.compute().item(), abs=1e-4)
