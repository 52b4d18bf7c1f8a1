"""Degradations by the sensor and the file: JPEG, low light, noise, and the mild traces that every photo has.

Each of the three is a `registry.Function`. They imitate the paper's data sets: DIV2K and Flickr2K at JPEG quality 10 or
with Gaussian noise of sigma 50, and LOL (low light); beside them the noise in files of real cameras (PolyU).
"""

import io

import numpy as np
from numpy.random import Generator
from PIL import Image

from daclip_lab.degradations.fields import resize, smoothstep, value_noise


def jpeg_compressed(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """JPEG at quality 60 (severity near 0), 28 (0.3), 10 (0.72, the paper's), 5 (1)."""
    return _random_jpeg(image, round(60 * (5 / 60) ** severity), rng)


def _random_jpeg(image: np.ndarray, quality: int, rng: Generator) -> np.ndarray:
    subsampling = "4:2:0" if rng.random() < 0.6 else "4:4:4"
    # A crop of a file begins anywhere in a block; a network should not learn that blocks start at pixel 0.
    down, right = rng.integers(0, 8, 2).tolist()
    return jpeg(image, quality, subsampling, (down, right))


def jpeg(
    image: np.ndarray, quality: int, subsampling: str, phase: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Encode and decode with libjpeg; `phase` is where in its 8x8 block the first pixel lies."""
    down, right = phase
    padded = np.pad(image, ((0, 0), (down, 0), (right, 0)), mode="symmetric")
    pixels = np.ascontiguousarray((padded * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    decoded = np.asarray(Image.open(file))[down:, right:]
    return np.ascontiguousarray(decoded.transpose(2, 0, 1)).astype(np.float32) / 255


# Per unit of severity, ranges of the factor of -2.3 in the logarithm of the gain, and of what the exponent of the tone
# curve exceeds 1 by: evenly dark; up to four stops down; a bright sky over a dark foreground.
EXPOSURES = {
    "even": ((0.75, 1.05), (-0.1, 0.5)),
    "deep": ((0.7, 1.2), (0.1, 0.9)),
    "backlit": ((0.1, 0.7), (0.6, 1.8)),
}


def low_light(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Underexposure by up to four stops, with a colour cast and signal-dependent noise.

    At severity 1 white falls to 0.06 to 0.8, middle gray to 0.02 to 0.25. The cast is up to 15 % either way, in a
    quarter also that of a lamp (green down to 70 %, blue to 40 %); light falls off unevenly by up to 40 %, when backlit
    by up to 70 %. In 30 % what is white (lamps, windows) exceeded the range of the photo, and loses less or nothing.
    """
    _, h, w = image.shape
    kind = rng.choice(list(EXPOSURES), p=[0.5, 0.3, 0.2])
    stops, steeper = EXPOSURES[kind]
    gain = np.float32(np.exp(-2.3 * severity * rng.uniform(*stops)))
    contrast = np.float32(1 + severity * rng.uniform(*steeper))
    cast = 1 + severity * rng.uniform(-0.15, 0.15, (3, 1, 1)).astype(np.float32)
    if rng.random() < 0.25:
        warmth = severity * rng.random() * np.array([0, 0.3, 0.6], np.float32)
        cast *= 1 - warmth[:, None, None]
    falloff = rng.uniform(0.2, 0.7) if kind == "backlit" else rng.uniform(0, 0.4)
    lamp = 1 - severity * falloff * value_noise(rng, h, w, cells=rng.uniform(0.5, 2))
    dark = gain * cast * np.power(image, contrast) * lamp.astype(np.float32)
    if rng.random() < 0.3:
        white = smoothstep(10 * image.max(axis=0) - 9)
        dark *= 1 + np.float32(rng.random() * (1 / gain - 1)) * white
    shot = severity * np.exp(rng.uniform(np.log(5e-5), np.log(3e-3)))
    read = severity * np.exp(rng.uniform(np.log(5e-4), np.log(0.012)))
    spread = np.sqrt(np.float32(shot) * dark + np.float32(read**2))
    noise = rng.standard_normal(image.shape, np.float32) * spread
    # A dark photo uses few of the 256 levels of its file.
    return np.round((dark + noise) * 255) / 255


def noisy(image: np.ndarray, severity: float, rng: Generator) -> np.ndarray:
    """Noise of sigma 68/255 at severity 1 and in proportion below; mostly white and Gaussian.

    In a quarter it is that of a camera's file (`_camera_noise`), there 0.25 to 1.1 times as strong.
    """
    _, h, w = image.shape
    sigma = np.float32(68 / 255 * severity * rng.uniform(0.9, 1.1))
    kinds = {"white": 0.45, "gray": 0.08, "shot": 0.11, "grainy": 0.11, "camera": 0.25}
    kind = rng.choice(list(kinds), p=list(kinds.values()))
    if kind == "camera":
        sigma *= np.float32(np.exp(rng.uniform(np.log(0.28), 0)))
        return image + _camera_noise(image, float(sigma), rng)
    if kind == "gray":
        noise = rng.standard_normal((1, h, w), np.float32)
    elif kind == "grainy":
        noise = _grain(rng, 3, h, w, most=0.5)
    else:
        noise = rng.standard_normal(image.shape, np.float32)
    if kind == "shot":
        noise *= np.sqrt(0.2 + 1.6 * image)
    return image + sigma * noise


def _grain(rng: Generator, planes: int, h: int, w: int, most: float) -> np.ndarray:
    """Noise of standard deviation 1 with correlated neighbours, as after demosaicking or on film.

    `most` is the largest weight of a neighbour, that of the pixel itself being 1.
    """
    white = rng.standard_normal((planes, h + 2, w + 2), np.float32)
    side = np.float32(rng.uniform(0.1, most))
    rows = white[:, 1:-1] + side * (white[:, :-2] + white[:, 2:])
    both = rows[..., 1:-1] + side * (rows[..., :-2] + rows[..., 2:])
    return both / (1 + 2 * side**2)


def _camera_noise(image: np.ndarray, sigma: float, rng: Generator) -> np.ndarray:
    """Noise as in files of real cameras (measured on PolyU), of standard deviation near `sigma`.

    Mostly gray (channels correlate by 0.4 to 0.95), grainy (neighbours by 0.1 to 0.7), with colour blotches two to four
    pixels wide, and strongest in the middle tones.
    """
    _, h, w = image.shape
    gray = _grain(rng, 1, h, w, most=0.9)[0]
    wide = int(rng.integers(2, 5))
    blotches = rng.standard_normal((3, 2 + h // wide, 2 + w // wide), np.float32)
    # Bicubic enlargement leaves about 0.82 of the standard deviation.
    blotches = np.stack([resize(plane, h, w) for plane in blotches]) / np.float32(0.82)
    common = rng.uniform(0.4, 0.95)
    noise = np.float32((1 - common) ** 0.5) * blotches
    noise += np.float32(common**0.5) * gray
    middle = np.float32(rng.uniform(0, 0.7))
    tone = np.clip(image, 0, 1)
    noise *= np.float32(sigma) * (1 - middle + 4.5 * middle * (tone - tone * tone))
    return noise


def camera(image: np.ndarray, rng: Generator) -> np.ndarray:
    """With probability one half each: mild noise, and JPEG at quality 80 to 98.

    The noise is white with sigma up to 4/255, or in 45 % that of a camera's file with sigma up to 5.5/255.
    """
    if rng.random() < 0.5:
        if rng.random() < 0.45:
            noise = _camera_noise(image, rng.uniform(0, 5.5 / 255), rng)
        else:
            sigma = np.float32(rng.uniform(0, 4 / 255))
            noise = sigma * rng.standard_normal(image.shape, np.float32)
        image = np.clip(image + noise, 0, 1)
    if rng.random() < 0.5:
        image = _random_jpeg(image, int(rng.integers(80, 99)), rng)
    return image
