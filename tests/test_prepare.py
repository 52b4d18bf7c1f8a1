"""data/mixed/prepare.py makes the paper's ten degradations of what has been downloaded, and says what has not."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.data.pairs import PairFolder
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.registry import DEGRADATIONS

SCRIPT = Path(__file__).resolve().parents[1] / "data" / "mixed" / "prepare.py"


@pytest.fixture(scope="module")
def prepare():
    spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["prepare"]


# Where the downloads keep a pair, or a clean photo alone, in their own words.
PAIRS = """
gopro/GOPRO_Large/{part}/GOPR0001_01_00/blur/000047.png    ../sharp/000047.png
gopro/GOPRO_Large/{part}/GOPR0001_01_00/blur/000051.png    ../sharp/000051.png
reside-6k/RESIDE-6K/{part}/hazy/12.jpg                     ../GT/12.png
raindrop/train/data/0_rain.png                             ../gt/0_clean.png
raindrop/test_a/data/3_rain.png                            ../gt/3_clean.png
lol/our485/low/2.png                                       ../high/2.png
lol/eval15/low/1.png                                       ../high/1.png
rain100h/RainTrainH/rain-7.png                             norain-7.png
rain100h/rainy/rain-001.png                                ../norain-001.png
srd/{Part}/shadow/IMG_1.jpg                                ../shadow_free/IMG_1_no_shadow.jpg
snow100k-l/all/synthetic/city_00012.jpg                    ../gt/city_00012.jpg
snow100k-l/test/Snow100K-L/synthetic/park_1.jpg            ../gt/park_1.jpg
"""
PHOTOS = """
div2k/DIV2K_train_HR/0001.png
div2k/DIV2K_valid_HR/0801.png
div2k/DIV2K_train_LR_bicubic/X2/0001x2.png
flickr2k/Flickr2K/Flickr2K_HR/000001.png
live1/refimgs/bikes.bmp
cbsd68/CBSD68/original_png/0000.png
cbsd68/CBSD68/noisy25/0000.png
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """All sets, a file or two of each, of 24x32 pixels."""
    data, generator = tmp_path_factory.mktemp("data"), seeded(0)

    def image(path):
        path = Path(os.path.normpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(torch.rand(3, 24, 32, generator=generator), path)

    for line in PAIRS.split("\n")[1:-1]:
        low, high = line.split()
        for part in ("train", "test") if "{" in line else ("",):
            place = data / low.format(part=part, Part=part.title())
            image(place)
            image(place.parent / high)
    for line in PHOTOS.split():
        image(data / line)
    for number in range(102):
        image(data / "celeba-hq-256" / f"{number:05}.jpg")
    return data


@pytest.fixture
def data(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "data"))


def run(prepare, data, *arguments):
    return prepare.main(["--data", str(data), "-o", str(data / "mixed"), *arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_ten_are_built_and_can_be_trained_on(prepare, data):
    assert run(prepare, data) == 0
    train, test = (PairFolder(data / "mixed" / part) for part in ("train", "test"))
    assert train.labels == test.labels == DEGRADATIONS
    counts = {label: (len(train.pairs[label]), len(test.pairs[label])) for label in DEGRADATIONS}
    assert counts == dict.fromkeys(DEGRADATIONS, (1, 1)) | {
        "motion-blurry": (2, 2),
        "jpeg-compressed": (3, 1),
        "noisy": (3, 1),
        "uncompleted": (2, 100),
    }
    # Captions were written for both, and describe the clean images.
    pair = test.pairs["rainy"][0]
    assert pair.caption == caption(read_image(data / "rain100h" / "norain-001.png"))
    assert train.draw(seeded(0), 16).clean.shape == (3, 16, 16)
    # Partners really are the files that belong together.
    assert pair.degraded.resolve() == data / "rain100h" / "rainy" / "rain-001.png"
    blurred = train.pairs["motion-blurry"][1]
    assert blurred.degraded.name == "GOPR0001_01_00_000051.png"
    assert blurred.clean.resolve().parts[-3:] == ("GOPR0001_01_00", "sharp", "000051.png")


def test_a_second_run_changes_nothing_and_a_lost_file_comes_back(prepare, data):
    chosen = ("--only", "noisy", "low-light")
    assert run(prepare, data, *chosen) == 0
    mixed = data / "mixed"
    files = sorted(path for path in mixed.rglob("*") if path.is_file())
    before = {path: (path.read_bytes(), path.lstat().st_mtime_ns) for path in files}
    lost = next(path for path in files if path.parts[-3:-1] == ("noisy", "LQ"))
    lost.unlink()
    assert run(prepare, data, *chosen) == 0
    for path, (content, written) in before.items():
        assert path.read_bytes() == content
        if path != lost and path.suffix != ".csv":
            assert path.lstat().st_mtime_ns == written


def test_what_is_made_is_what_the_paper_made(prepare, data):
    flat = data / "div2k" / "DIV2K_train_HR" / "0001.png"
    gray = 128 / 255
    save_image(torch.full((3, 200, 200), gray), flat)
    assert run(prepare, data, "--only", "noisy", "jpeg-compressed") == 0
    train = data / "mixed" / "train"
    noise = read_image(train / "noisy" / "LQ" / "div2k_DIV2K_train_0001.png") - gray
    # Clipping at 0 and 1 takes a little off the tails.
    assert noise.std().item() == pytest.approx(50 / 255, rel=0.03)
    assert abs(noise.mean().item()) < 2e-3
    one = read_image(train / "noisy" / "LQ" / "div2k_DIV2K_valid_0801.png")
    assert not torch.allclose(one[:, :9, :9], noise[:, :9, :9] + gray)

    with Image.open(train / "jpeg-compressed" / "LQ" / "div2k_DIV2K_train_0001.jpg") as file:
        luma = file.quantization[0]
    # The standard's table at quality 10 is five times its own, which begins with 16.
    assert (file.format, luma[0]) == ("JPEG", 80)


def test_masks_hide_in_white_what_they_show_in_black(prepare, data):
    mask = torch.ones(3, 48, 64)
    mask[:, :, :32] = 0
    (data / "repaint-masks").mkdir()
    save_image(mask, data / "repaint-masks" / "000000.png")
    assert run(prepare, data, "--only", "uncompleted") == 0
    pair = PairFolder(data / "mixed" / "test").pairs["uncompleted"][0]
    degraded, clean = read_image(pair.degraded), read_image(pair.clean)
    assert (degraded[:, :, :16] == 1).all()
    torch.testing.assert_close(degraded[:, :, 16:], clean[:, :, 16:], atol=1 / 255, rtol=0)


def test_without_masks_our_own_degradation_stands_in_and_says_so(prepare, data, capsys):
    assert run(prepare, data, "--only", "uncompleted") == 0
    assert "repaint-masks: no masks" in capsys.readouterr().out
    pair = PairFolder(data / "mixed" / "train").pairs["uncompleted"][0]
    same = (read_image(pair.degraded) - read_image(pair.clean)).abs().amax(0) < 1 / 255
    assert 0.3 < same.float().mean() < 0.98


def test_train_and_test_share_no_face(prepare, data):
    assert run(prepare, data, "--only", "uncompleted") == 0
    train, test = (
        names(data / "mixed" / part / "uncompleted" / "GT") for part in ("train", "test")
    )
    assert len(train) == 2 and len(test) == 100 and not set(train) & set(test)


def test_missing_sets_are_all_named_with_what_to_do(prepare, data, capsys):
    shutil.rmtree(data / "gopro")
    shutil.rmtree(data / "lol" / "our485")
    assert run(prepare, data) == 2
    error = capsys.readouterr().err
    assert "daclip-lab fetch" in error and "--skip-missing" in error
    assert "motion-blurry (train)" in error and "gopro: no such folder" in error
    assert "low-light (train)" in error and "our485/low/{name}" in error
    assert "low-light (test)" not in error
    assert not (data / "mixed").exists()

    assert run(prepare, data, "--skip-missing") == 0
    assert PairFolder(data / "mixed" / "train").labels == tuple(
        name for name in DEGRADATIONS if name not in ("motion-blurry", "low-light")
    )
    assert "low-light" in PairFolder(data / "mixed" / "test").labels


def test_a_missing_partner_is_named(prepare, data, capsys):
    folder = data / "gopro" / "GOPRO_Large" / "train" / "GOPR0001_01_00" / "sharp"
    (folder / "000051.png").unlink()
    assert run(prepare, data, "--only", "motion-blurry") == 2
    assert "blur/000051.png and 0 others have no partner" in capsys.readouterr().err


def test_any_set_may_be_arranged_in_our_own_layout(prepare, data):
    shutil.rmtree(data / "srd")
    for part in ("train", "test"):
        for kind in ("LQ", "GT"):
            (data / "srd" / part / kind).mkdir(parents=True)
            save_image(torch.rand(3, 16, 16), data / "srd" / part / kind / "a b.png")
    assert run(prepare, data, "--only", "shadowed") == 0
    assert names(data / "mixed" / "train" / "shadowed" / "LQ") == ["a b.png"]


def test_copies_stand_alone(prepare, data):
    assert run(prepare, data, "--only", "hazy", "--copy") == 0
    shutil.rmtree(data / "reside-6k")
    assert PairFolder(data / "mixed").draw(seeded(0), 16).label == "hazy"


def test_more_than_the_paper_drew_is_drawn_from(prepare, data):
    part = next(part for part in prepare.TRAIN if part.label == "snowy")
    folder = data / "snow100k-l" / "all"
    for number in range(part.count + 5):
        for kind in ("synthetic", "gt"):
            (folder / kind / f"{number:04}.jpg").touch()
    pairs = prepare.find(part, "train", data)
    assert len(pairs) == part.count and pairs == sorted(pairs)
    assert pairs == prepare.find(part, "train", data)


def test_the_script_explains_itself():
    command = [sys.executable, str(SCRIPT), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "ten-degradation set" in shown and "--only" in shown
