r"""How close a restored image is to the clean one: by pixels, structure, edges, and features of networks.

Images are (b, c, h, w), floats in [0, 1], on any device; a measure gives one value per image, (b,). Images of unequal
shapes, of integers, or smaller than a measure's window raise an InputError. `docs/metrics.md` describes the limits of
each measure. LPIPS and FID use networks that others trained; their weights are read from this machine.
"""

import pickle
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from daclip_lab.errors import InputError, extra

NETWORKS = {
    "lpips": "alexnet-owt-7be5be79.pth",
    "fid": "weights-inception-2015-12-05-6726825d.pth",
}
"""Measures that use a network, by their names for `daclip-lab fetch`, and the files of their weights."""
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM, finest first
WINDOW = 11
LUMA = (65.481, 128.553, 24.966)  # BT.601, for R, G and B in [0, 1] and a Y that ends at 235


def psnr(images: Tensor, clean: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio in dB, $-10 \log_{10} \mathrm{MSE}$; equal images give 60, so that means exist."""
    _check(images, clean)
    error = (images - clean).square().mean((1, 2, 3))
    return -10 * error.clamp(min=1e-6).log10()


def ssim(images: Tensor, clean: Tensor) -> Tensor:
    r"""Structural similarity with a Gaussian window of 11x11, sigma 1.5 (Wang et al., 2004, equation 13).

    The mean over all windows inside the image of
    $\frac{(2\mu_x\mu_y + c_1)(2\sigma_{xy} + c_2)}{(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)}$.
    """
    _check(images, clean, WINDOW)
    return _structure(images, clean)[0]


def ms_ssim(images: Tensor, clean: Tensor) -> Tensor:
    """Multi-scale structural similarity, in [0, 1] (Wang et al., 2003).

    Five scales, each half as large as the one before. Where the window of 11x11 does not fit into the coarsest, there
    are fewer, with their weights scaled to sum to 1: five need 176 pixels a side, three need 44. Negative terms count
    as 0.
    """
    _check(images, clean, WINDOW)
    smallest = min(images.shape[-2:])
    count = sum(smallest >> scale >= WINDOW for scale in range(len(SCALES)))
    weights = torch.tensor(SCALES[:count], device=images.device)
    terms = []
    for scale in range(count):
        whole, contrast = _structure(images, clean)
        terms.append(whole if scale == count - 1 else contrast)
        images, clean = F.avg_pool2d(images, 2), F.avg_pool2d(clean, 2)
    return torch.stack(terms, -1).clamp(min=0).pow(weights / weights.sum()).prod(-1)


def _structure(images: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Structural similarity (b,), and its contrast-structure term, without luminance (b,)."""
    channels = images.shape[1]
    x = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    line = torch.exp(-(x**2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2).expand(channels, 1, WINDOW, WINDOW)

    def mean(x: Tensor) -> Tensor:
        # Windows inside the image only: padding would count pixels that do not exist.
        return F.conv2d(x, window, groups=channels)

    a, b = mean(images), mean(clean)
    covariance = mean(images * clean) - a * b
    variances = mean(images**2) - a**2 + mean(clean**2) - b**2
    c1, c2 = 0.01**2, 0.03**2
    contrast = (2 * covariance + c2) / (variances + c2)
    whole = (2 * a * b + c1) / (a**2 + b**2 + c1) * contrast
    return whole.mean((1, 2, 3)), contrast.mean((1, 2, 3))


def gradient_similarity(images: Tensor, clean: Tensor) -> Tensor:
    """Mean gradient magnitude similarity of RGB images, in (0, 1]; 1 where all edges are equal.

    The mean of the map of Xue et al. (2014), their GMSM, of which GMSD is the deviation: grey images at half size,
    Prewitt gradients, constant 170 / 255². Gradients inside the image only.
    """
    _check(images, clean, 6)
    weights = images.new_tensor((0.299, 0.587, 0.114))[:, None, None]
    prewitt = images.new_tensor([[1.0, 0, -1]] * 3) / 3
    kernels = torch.stack([prewitt, prewitt.T])[:, None]

    def magnitude(x: Tensor) -> Tensor:
        grey = F.avg_pool2d((x * weights).sum(1, keepdim=True), 2)
        return F.conv2d(grey, kernels).square().sum(1).sqrt()

    a, b, constant = magnitude(images), magnitude(clean), 170 / 255**2
    return ((2 * a * b + constant) / (a**2 + b**2 + constant)).mean((1, 2))


def to_y(images: Tensor) -> Tensor:
    """The luma (b, 1, h, w) of RGB images: BT.601 as MATLAB's rgb2ycbcr, from 16/255 to 235/255."""
    weights = images.new_tensor(LUMA)[:, None, None]
    return ((images * weights).sum(1, keepdim=True) + 16) / 255


def crop_border(images: Tensor, width: int) -> Tensor:
    """Images (b, c, h, w) without `width` pixels at each side. Raises InputError where nothing would be left."""
    h, w = images.shape[-2:]
    if min(h, w) <= 2 * width:
        raise InputError(f"{w}x{h} pixels: nothing is left without a border of {width}")
    return images[..., width : h - width, width : w - width]


@torch.inference_mode()
def lpips(images: Tensor, clean: Tensor) -> Tensor:
    """Learned perceptual distance through AlexNet, 0 for equal images (Zhang et al., 2018: LPIPS, version 0.1).

    Raises InputError also where AlexNet's weights are not on this machine, and below 31x31 pixels.
    """
    _check(images, clean, 31)
    return network("lpips", images.device)(images, clean, normalize=True).flatten()


@torch.inference_mode()
def fid(restored: Iterable[Tensor], clean: Iterable[Tensor]) -> float:
    """Fréchet inception distance of two sets of images (Heusel et al., 2017), 0 for equal sets.

    Each set holds at least two images (3, h, w) in [0, 1], of any sizes; they are resized to 299x299 as in pytorch-fid,
    which the paper uses. Raises InputError where Inception's weights are not on this machine.
    """
    x, y = (torch.stack([*map(inception_features, part)]) for part in (restored, clean))
    return frechet_distance(x, y)


@torch.inference_mode()
def inception_features(image: Tensor) -> Tensor:
    """The features (2048,) that FID compares, of an image (3, h, w) in [0, 1]. Errors are those of `fid`."""
    resized = F.interpolate(image[None], size=(299, 299), mode="bilinear", align_corners=False)
    return network("fid", image.device)(resized.mul(255).round().byte())[0][0]


def frechet_distance(features: Tensor, others: Tensor) -> float:
    r"""Fréchet distance of the Gaussians fitted to two sets of features (n, d) and (m, d); n and m at least 2.

    $|\mu_x - \mu_y|^2 + \mathrm{tr}(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2})$.
    """
    if min(len(features), len(others)) < 2:
        raise InputError(
            "a Fréchet distance needs two images or more in each set: one has no covariance"
        )
    x, y = features.double(), others.double()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    # With centred rows X and Y, the covariances are X'X and Y'Y, and the trace of the root of their product is the
    # sum of the singular values of XY': exact also for fewer images than features. The R of a QR decomposition of X
    # has the same X'X and at most d rows.
    x, y = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    x, y = (torch.linalg.qr(z, mode="r").R for z in (x, y))
    shared = torch.linalg.svdvals(x @ y.T).sum()
    return max(0.0, float(shift + x.square().sum() + y.square().sum() - 2 * shared))


def available_networks() -> tuple[list[str], list[str]]:
    """Those of `NETWORKS` that can be used, and for each of the others a line with the reason."""
    found, notes = [], []
    for name in NETWORKS:
        try:
            network(name)
            found.append(name)
        except InputError as error:
            notes.append(f"not measured: {error}")
    return found, notes


def network(measure: str, device: torch.device | str = "cpu") -> nn.Module:
    """The network behind `"lpips"` or `"fid"`, with weights from the checkpoints folder of torch.hub.

    Raises InputError where the file is missing, with the command that fetches it, where it holds something else, or
    where the packages of the extra `analysis` are missing.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / NETWORKS[measure]
    if not path.is_file():
        raise InputError(
            f"{measure.upper()} needs {path.name}, which is not in {path.parent}: "
            f"daclip-lab fetch {measure} gets it"
        )
    return _load(measure, path, str(device))


@cache
@extra("analysis")
def _load(measure: str, path: Path, device: str) -> nn.Module:
    try:
        # The libraries below unpickle any object; a file that passes here holds only tensors.
        torch.load(path, map_location="meta", weights_only=True)
        if measure == "lpips":
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            return LearnedPerceptualImagePatchSimilarity(net_type="alex").net.to(device)
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path)).to(device)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} does not hold the weights of {measure.upper()}: {reason}"
        ) from error


def _check(images: Tensor, clean: Tensor, smallest: int = 1) -> None:
    if images.ndim != 4 or images.shape != clean.shape:
        raise InputError(
            f"images {tuple(images.shape)} and {tuple(clean.shape)}: wanted two equal shapes (b, c, h, w)"
        )
    if not (images.is_floating_point() and clean.is_floating_point()):
        raise InputError(f"images of {images.dtype} and {clean.dtype}: wanted floats in [0, 1]")
    h, w = images.shape[-2:]
    if min(h, w) < smallest:
        raise InputError(f"{w}x{h} pixels are too few: wanted at least {smallest}x{smallest}")
