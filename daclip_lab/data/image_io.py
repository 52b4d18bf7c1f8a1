"""Images of any kind to float32 RGB tensors (3, h, w) in [0, 1], and such tensors to PIL images and files."""

import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps

from daclip_lab.errors import InputError
from daclip_lab.files.storage import atomic_write, check_output

OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""Extensions of files that `save_image` writes."""
SUFFIXES = {*OUTPUT_SUFFIXES, ".gif", ".ppm"}
"""Extensions of files that `find_images` lists."""
TOLERANCE = 1e-3  # resizing and float arithmetic leave values a little outside of [0, 1]
WANTED = (
    "an array (h, w), (h, w, 3) or (h, w, 4), or a tensor (3, h, w) or (1, 3, h, w); "
    "of several images pass a list"
)

ImageLike = (
    str | os.PathLike | bytes | bytearray | memoryview | io.IOBase | Image.Image | np.ndarray
    | torch.Tensor
)  # fmt: skip
"""What `read_image` takes."""


def read_image(image: ImageLike) -> torch.Tensor:
    """Turn any image into a float32 tensor (3, h, w) in [0, 1] that shares no memory with it.

    `image` is a path, the bytes of a file or a binary file object, a PIL image, a numpy array (h, w), (h, w, 1),
    (h, w, 3) or (h, w, 4), or a torch tensor (h, w), (1, h, w), (3, h, w) or (1, 3, h, w). Arrays and tensors hold
    bool, uint8, uint16, or floats in [0, 1].

    The EXIF orientation is applied; colours are converted from an embedded profile to sRGB; 16-bit gray keeps its
    precision; of an animation the first frame is read; transparency is composed over white.

    Raises InputError for anything else, naming the file or what is wrong with the values.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        raise InputError(f"{image}: an address is not read; download the file and name it")
    if isinstance(image, (str, os.PathLike)):
        return _decode(Path(image), str(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        image = io.BytesIO(image)
    if isinstance(image, io.IOBase):
        return _decode(image, "the bytes")
    if isinstance(image, Image.Image):
        try:
            return _from_array(_pixels(image))
        except (OSError, SyntaxError) as error:  # PIL reads lazily: a damaged file shows only now
            raise InputError(f"the PIL image cannot be read: {_one_line(error)}") from None
    if isinstance(image, torch.Tensor):
        return _from_array(_channels_last(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    hint = "; of several images pass a list" if isinstance(image, Iterator) else ""
    raise InputError(
        "an image is a path, the bytes of a file, a PIL image, a numpy array or a torch tensor, "
        f"not {type(image).__name__}{hint}"
    )


def to_pil(image: torch.Tensor) -> Image.Image:
    """Turn a tensor (3, h, w) or (1, 3, h, w) into a PIL RGB image; floats are clamped to [0, 1] and rounded.

    Integers are taken as by `read_image`. Raises InputError for another shape or NaN.
    """
    image = image.detach().float().cpu() if image.is_floating_point() else read_image(image)
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise InputError(f"got a tensor of shape {tuple(image.shape)}; wanted (3, h, w)")
    if image.isnan().any():
        raise InputError("the image holds NaN")
    levels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def save_image(image: torch.Tensor | Image.Image, path: str | os.PathLike) -> None:
    """Write an image atomically, in 8-bit sRGB and the format of the extension, without EXIF data or a profile.

    Raises InputError for an extension that is not in `OUTPUT_SUFFIXES`, or where nothing can be written.
    """
    path = check_output(path, OUTPUT_SUFFIXES)
    picture = to_pil(image if isinstance(image, torch.Tensor) else read_image(image))
    try:
        with atomic_write(path) as part:
            kind = Image.registered_extensions()[path.suffix.lower()]
            picture.save(part, format=kind, quality=95)
    except ValueError as error:  # too wide for WebP
        raise InputError(f"{path}: cannot be written: {_one_line(error)}") from None


def find_images(folder: str | os.PathLike) -> list[Path]:
    """List the images below a folder, sorted, without hidden files and folders.

    Links to folders are followed, but each folder is entered once. Raises InputError where there is no such folder or
    no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = sorted(_images_below(folder, set()))
    if not found:
        raise InputError(f"{folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def _images_below(folder: Path, entered: set[str]) -> Iterator[Path]:
    if (real := os.path.realpath(folder)) in entered:
        return
    entered.add(real)
    # Links last: a folder that is also reached directly keeps its own name.
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_symlink(), path)):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _images_below(path, entered)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _decode(file, name: str) -> torch.Tensor:
    """Read a path or a binary file object; raises InputError, which begins with `name`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return _from_array(_pixels(image))
    except InputError as error:
        reason = str(error)
    except FileNotFoundError:
        reason = "no such file"
    except IsADirectoryError:
        reason = "this is a folder; name an image file in it"
    except Image.UnidentifiedImageError:
        empty = isinstance(file, Path) and file.stat().st_size == 0
        reason = "the file is empty" if empty else "not an image, or of a kind that cannot be read"
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        reason = f"too large; at most {most} million pixels are read"
    except Exception as error:  # damaged bytes make the decoders raise nearly anything
        reason = f"cannot be read: {_one_line(error)}"
    raise InputError(f"{name}: {reason}")


def _pixels(image: Image.Image) -> np.ndarray:
    """The upright pixels of a PIL image as an array that `_from_array` takes."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        return np.asarray(image)
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow may also keep in 32 bits
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise InputError("the 32-bit integers reach outside of 0..65535")
        return levels.astype(np.uint16)
    rgb = _srgb(image)
    if image.has_transparency_data:
        rgb.putalpha(image.convert("RGBA").getchannel("A"))
    return np.asarray(rgb)


def _srgb(image: Image.Image) -> Image.Image:
    """An 8-bit image of any mode as sRGB, converted from its embedded profile."""
    colours = {"L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    plain = image if image.mode == colours else image.convert(colours)
    if embedded := image.info.get("icc_profile"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
            if not ImageCms.getProfileDescription(profile).startswith("sRGB"):
                target = ImageCms.createProfile("sRGB")
                done = ImageCms.profileToProfile(plain, profile, target, outputMode="RGB")
                return done or plain  # None only where it converts in place
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile, or one for another kind of pixels: ignored, as viewers do
    return image.convert("RGB")


def _channels_last(tensor: torch.Tensor) -> np.ndarray:
    """A tensor (h, w), (1, h, w), (3, h, w) or (1, 3, h, w) as an array (h, w) or (h, w, channels)."""
    plain = tensor.detach().cpu()
    array = (plain.float() if plain.is_floating_point() else plain).numpy()  # no bfloat16 there
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and len(array) in (1, 3):
        return array.transpose(1, 2, 0)
    if array.ndim == 2:
        return array
    raise InputError(f"got a tensor of shape {tuple(tensor.shape)}; wanted {WANTED}")


def _from_array(array: np.ndarray) -> torch.Tensor:
    """An array (h, w) or (h, w, 1, 3 or 4 channels) as a tensor (3, h, w) in [0, 1]."""
    if array.shape[2:] not in ((), (1,), (3,), (4,)) or array.ndim < 2 or 0 in array.shape:
        raise InputError(f"got an array of shape {array.shape}; wanted {WANTED}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.dtype.kind not in "bf" and array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"got {array.dtype} values; wanted bool, uint8, uint16, or floats in 0..1")
    most = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    levels = array.astype(np.float32) / np.float32(most)
    low, high = levels.min(), levels.max()  # NaN if any value is
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise InputError(f"got floats in {low:.4g}..{high:.4g}; wanted 0..1")
    levels = levels.clip(0, 1)
    if levels.shape[2] == 4:
        alpha = levels[:, :, 3:]
        levels = levels[:, :, :3] * alpha + (1 - alpha)
    levels = np.broadcast_to(levels, (*levels.shape[:2], 3))
    return torch.from_numpy(np.array(levels.transpose(2, 0, 1), dtype=np.float32, order="C"))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
