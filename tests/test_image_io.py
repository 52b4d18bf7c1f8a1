"""Every image a person may hand over is read as they would expect, or refused with one clear line."""

import io
import os
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from daclip_lab.data.image_io import OUTPUT_SUFFIXES, find_images, read_image, save_image, to_pil
from daclip_lab.errors import InputError


def levels(height=20, width=30, seed=0):
    """A random uint8 picture (h, w, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_tensor(array):
    """What reading a uint8 array (h, w, 3) must give."""
    return torch.from_numpy(array).permute(2, 0, 1).float() / 255


def refusal(image):
    """The message that refuses an image; it must be one line."""
    with pytest.raises(InputError) as caught:
        read_image(image)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- what is read ----


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_png_round_trip_loses_nothing(tmp_path_factory, height, width, seed):
    path = tmp_path_factory.mktemp("images") / "a.png"
    array = levels(height, width, seed)
    save_image(as_tensor(array), path)
    assert torch.equal(read_image(path), as_tensor(array))


@pytest.mark.parametrize(
    "kind",
    [
        "path",
        "str",
        "bytes",
        "memoryview",
        "BytesIO",
        "file",
        "pil",
        "numpy",
        "tensor",
        "batch",
        "uint8 tensor",
    ],
)
def test_every_kind_of_image_gives_the_same_tensor(tmp_path, kind):
    array = levels()
    save_image(Image.fromarray(array), tmp_path / "a.png")
    image = {
        "path": tmp_path / "a.png",
        "str": str(tmp_path / "a.png"),
        "bytes": (tmp_path / "a.png").read_bytes(),
        "memoryview": memoryview((tmp_path / "a.png").read_bytes()),
        "BytesIO": io.BytesIO((tmp_path / "a.png").read_bytes()),
        "file": (tmp_path / "a.png").open("rb"),
        "pil": Image.fromarray(array),
        "numpy": array,
        "tensor": as_tensor(array),
        "batch": as_tensor(array)[None],
        "uint8 tensor": torch.from_numpy(array).permute(2, 0, 1),
    }[kind]
    result = read_image(image)
    assert result.dtype == torch.float32 and result.is_contiguous()
    assert torch.equal(result, as_tensor(array))


def test_the_result_shares_no_memory_with_the_input():
    tensor, array = torch.zeros(3, 4, 4), np.zeros((4, 4, 3), np.float32)
    read_image(tensor).fill_(1)
    read_image(array).fill_(1)
    assert tensor.sum() == 0 and array.sum() == 0


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
@pytest.mark.parametrize(
    ("dtype", "high"), [(bool, 1), (np.uint8, 255), (np.uint16, 65535), (np.float16, 1), (float, 1)]
)
def test_gray_arrays_of_every_type_span_zero_to_one(shape, dtype, high):
    array = np.zeros(shape, dtype)
    array[2:] = high
    result = read_image(array)
    assert result.shape == (3, 5, 7)
    assert (result[:, :2] == 0).all() and (result[:, 2:] == 1).all()


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (1, 1, 5, 7)])
def test_gray_tensors(shape):
    assert torch.equal(read_image(torch.full(shape, 0.25)), torch.full((3, 5, 7), 0.25))


def test_tensors_with_gradient_and_of_half_precision():
    assert not read_image(torch.rand(3, 4, 4, requires_grad=True)).requires_grad
    assert read_image(torch.full((3, 4, 4), 0.5, dtype=torch.bfloat16)).eq(0.5).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_tiny_images(tmp_path, size):
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (3, size[1], size[0])


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_opaque_modes_look_as_pillow_shows_them(mode):
    image = Image.fromarray(levels()).convert(mode)
    assert torch.equal(read_image(image), as_tensor(np.array(image.convert("RGB"))))


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert (
        read_image(tmp_path / "a.jpg")
        .mean((1, 2))
        .sub(torch.tensor([200, 40, 90]) / 255)
        .abs()
        .max()
        < 0.02
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    assert read_image(image.convert(mode))[:, 0].tolist() == [[1, 0]] * 3


def test_half_transparent_red_is_pink():
    red = np.array([[[255, 0, 0, 51]]], np.uint8)  # alpha 0.2
    assert read_image(red).flatten().tolist() == pytest.approx([1, 0.8, 0.8])
    assert torch.equal(read_image(red), read_image(Image.fromarray(red)))
    assert torch.allclose(read_image(red / np.float32(255)), read_image(red))


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 255, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png")[:, 0].T.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_gray_keeps_its_precision(tmp_path, suffix):
    array = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(array).save(tmp_path / f"a{suffix}")
    expected = torch.from_numpy(array.astype(np.float32) / 65535).expand(3, 64, 64)
    assert torch.equal(read_image(tmp_path / f"a{suffix}"), expected)
    assert torch.equal(read_image(Image.fromarray(array.astype(np.int32))), expected)  # mode I


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    for source in (tmp_path / "a.png", Image.open(tmp_path / "a.png")):
        result = read_image(source)
        assert result.shape == (3, 40, 20)
        assert result[:, :20].eq(1).all() and result[:, 20:].eq(0).all()


def display_p3() -> bytes:
    """An ICC profile of the colours of Display P3, with a gamma of 2.2."""

    def fixed(*numbers):
        return b"".join(struct.pack(">i", round(65536 * number)) for number in numbers)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, int(2.2 * 256)) + b"\0\0"
    tags = {
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.51512, 0.2412, -0.00105),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.29198, 0.69225, 0.04189),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1571, 0.06657, 0.78407),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 3) + b"P3\0" + bytes(79),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        place = 132 + 12 * len(tags) + len(data)
        table += name + struct.pack(">II", place, len(tag))
        data += tag + bytes(-len(tag) % 4)
    header = (
        struct.pack(">I", 128 + len(table) + len(data)) + b"lcms" + struct.pack(">I", 0x02100000)
    )
    header += (
        b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249) + bytes(48)
    )
    return header + table + data


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "JPEG"])
def test_a_colour_profile_is_converted_to_srgb(tmp_path, kind):
    image, path = Image.new("RGB", (16, 16), (60, 210, 70)), tmp_path / "a.png"
    if kind == "RGBA":
        image.putalpha(255)
    if kind == "P":
        image = image.quantize(4)
    if kind == "JPEG":
        path = tmp_path / "a.jpg"
    image.save(path, icc_profile=display_p3(), quality=100)
    # What a viewer with colour management shows: this green lies outside of sRGB.
    shown = read_image(path)[:, 8, 8].mul(255).round().tolist()
    assert shown == pytest.approx([0, 215, 28], abs=4 if kind == "JPEG" else 0)
    save_image(read_image(path), tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as written:
        assert "icc_profile" not in written.info
        assert written.getpixel((8, 8)) == pytest.approx((0, 215, 28), abs=4)


def test_a_profile_of_srgb_or_a_damaged_one_changes_nothing(tmp_path):
    array = levels()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"damaged", display_p3()[:200]):
        Image.fromarray(array).save(tmp_path / "a.png", icc_profile=profile)
        assert torch.equal(read_image(tmp_path / "a.png"), as_tensor(array))


def test_orientation_and_profile_together(tmp_path):
    image, exif = Image.new("RGB", (16, 8), (60, 210, 70)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif, icc_profile=display_p3())
    shown = read_image(tmp_path / "a.png")
    assert shown.shape == (3, 16, 8) and shown[1].mul(255).round().eq(215).all()


def test_an_animation_gives_its_first_frame(tmp_path):
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    assert read_image(tmp_path / "a.gif")[:, 0, 0].tolist() == [1, 0, 0]


def test_floats_a_rounding_error_outside_are_clamped():
    result = read_image(np.array([[-1e-4, 1 + 1e-4]]))
    assert result[0].tolist() == [[0, 1]]


# ---- what is refused ----


def test_no_file_and_a_folder(tmp_path):
    assert refusal(tmp_path / "none.png") == f"{tmp_path / 'none.png'}: no such file"
    assert refusal(tmp_path) == f"{tmp_path}: this is a folder; name an image file in it"
    assert "File name too long" in refusal("data:" + "x" * 5000)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"hello", "not an image"), (b"\x89PNG\r\n\x1a\n", "")]
)
def test_files_that_are_no_images(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    message = refusal(path)
    assert str(path) in message and reason in message


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, keep):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(levels(64, 64)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    assert str(path) in refusal(path)


def test_a_truncated_picture_already_opened_by_pillow_is_refused():
    buffer = io.BytesIO()
    Image.fromarray(levels(64, 64)).save(buffer, "JPEG")
    image = Image.open(io.BytesIO(buffer.getvalue()[:1000]))
    assert "truncated" in refusal(image)


def test_a_decompression_bomb_is_refused_and_a_large_photo_is_not(tmp_path, monkeypatch, recwarn):
    Image.new("L", (3000, 3000)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000_000)
    assert "at most 8 million pixels" in refusal(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8_000_000)
    assert read_image(tmp_path / "a.png").shape == (3, 3000, 3000)
    assert not recwarn.list


@pytest.mark.parametrize("shape", [(), (5,), (3, 5, 7), (5, 7, 2), (1, 5, 7, 3), (0, 7, 3), (5, 0)])
def test_arrays_of_the_wrong_shape(shape):
    message = refusal(np.zeros(shape, np.uint8))
    assert str(shape) in message and "(h, w, 3)" in message


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 5, 7), (5, 7, 3), (4, 5, 7), (3, 0, 7)])
def test_tensors_of_the_wrong_shape(shape):
    message = refusal(torch.zeros(shape))
    assert "shape" in message and "(3, h, w)" in message


@pytest.mark.parametrize("bad", [-0.1, 1.1, 255.0, float("nan"), float("inf")])
def test_floats_outside_the_unit_range(bad):
    array = np.full((4, 4, 3), 0.5)
    array[1, 2, 0] = bad
    for image in (array, torch.from_numpy(array).permute(2, 0, 1)):
        assert "wanted 0..1" in refusal(image)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint32, np.complex64, object])
def test_arrays_of_the_wrong_type(dtype):
    assert np.dtype(dtype).name in refusal(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize("image", [None, 3, b"bytes", [[0, 1]]])
def test_things_that_are_no_images(image):
    assert type(image).__name__ in refusal(image)


@pytest.mark.parametrize(
    "images",
    [torch.rand(4, 3, 8, 8), np.zeros((4, 8, 8, 3)), iter(["a.png"])],
)
def test_several_images_are_refused_with_the_advice_to_pass_a_list(images):
    assert "pass a list" in refusal(images)


# ---- what is written ----


@pytest.mark.parametrize("suffix", [*OUTPUT_SUFFIXES, ".PNG"])
def test_every_format_is_written_as_its_extension_says(tmp_path, suffix):
    smooth = torch.linspace(0, 1, 64).expand(3, 48, 64)
    save_image(smooth, tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as image:
        kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
        assert image.format == kind and image.mode == "RGB"
    assert (read_image(tmp_path / f"a{suffix}") - smooth).abs().max() < 0.04


def test_to_pil_clamps_rounds_and_refuses():
    assert to_pil(torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1)).getpixel((0, 0)) == (0, 128, 255)
    for bad in (torch.zeros(1, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(3, 0, 4)):
        with pytest.raises(InputError, match="shape"):
            to_pil(bad)
    with pytest.raises(InputError, match="NaN"):
        to_pil(torch.full((3, 2, 2), float("nan")))
    assert to_pil(torch.full((3, 2, 2), 100, dtype=torch.uint8)).getpixel((0, 0)) == (100,) * 3


def test_places_that_cannot_be_written(tmp_path):
    image = torch.zeros(3, 4, 4)
    (tmp_path / "folder.png").mkdir()
    for path, reason in [
        (tmp_path / "a.xyz", r"\.png, \.jpg"),
        (tmp_path / "a", "extension"),
        (tmp_path / "none" / "a.png", "does not exist"),
        (tmp_path / "folder.png", "is a folder"),
    ]:
        with pytest.raises(InputError, match=reason):
            save_image(image, path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.webp"
    save_image(torch.zeros(3, 4, 4), path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"a\.webp: cannot be written"):
        save_image(torch.zeros(3, 1, 20_000), path)  # WebP ends at 16,383 pixels
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.webp"]


def test_find_images_is_sorted_recursive_and_leaves_out_the_rest(tmp_path):
    for name in ["b/2.JPG", "b/1.png", "a.webp", "notes.txt", ".hidden.png", ".cache/x.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert names == ["a.webp", "b/1.png", "b/2.JPG"]


def test_find_images_refuses_what_has_none(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "none")


def test_linked_folders_are_entered_once_and_loops_end(tmp_path):
    disk, data = tmp_path / "disk", tmp_path / "data"
    for path in (disk / "deep" / "a.png", data / "noisy" / "b.png"):
        path.parent.mkdir(parents=True)
        path.touch()
    (data / "rainy").symlink_to(disk)
    (disk / "back").symlink_to(data)
    (data / "again").symlink_to(data / "noisy")
    (data / "c.png").symlink_to(disk / "deep" / "a.png")
    names = [path.relative_to(data).as_posix() for path in find_images(data)]
    assert names == ["c.png", "noisy/b.png", "rainy/deep/a.png"]
