"""What many tests need: a tiny pipeline with random weights, two small photos, a browser."""

import os
import shutil

import pytest
import torch
from torch import nn

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
]


def _randomize(module: nn.Module, seed: int = 0, std: float = 0.1) -> nn.Module:
    """Fill every parameter that starts at zero, so that whatever is switched off at first has a say."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture(scope="session")
def randomize():
    """A function that fills the zero-initialised parameters of a module and returns the module."""
    return _randomize


@pytest.fixture(scope="session")
def scale():
    """The smallest scale."""
    from daclip_lab.training import presets

    return presets.smoke()


@pytest.fixture(scope="session")
def weights(tmp_path_factory, scale):
    """The folder of a tiny pipeline with random weights, in which every part has a say."""
    from daclip_lab.models.daclip import DaCLIP
    from daclip_lab.pipeline.pipeline import Pipeline
    from daclip_lab.pipeline.serialization import Settings

    settings = Settings(
        clip=scale.clip,
        network=scale.network,
        sde=scale.sde,
        view=scale.view,
        steps=scale.steps,
        synonyms=True,
    )
    daclip = _randomize(DaCLIP(scale.build_clip(seed=1)), seed=2)
    restorer = _randomize(scale.build_restorer(seed=3), seed=4, std=0.02)
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    Pipeline(settings, daclip=daclip, restorer=restorer).save(folder)
    return folder


@pytest.fixture(params=["float32", "bfloat16"])
def precision(request, monkeypatch):
    """The number format of trainings, whatever the processor has: a test that takes this runs once in each."""
    monkeypatch.setattr(
        "daclip_lab.training.loop.has_bf16", lambda device: request.param == "bfloat16"
    )
    return request.param


@pytest.fixture
def pipe(weights):
    """The tiny pipeline, loaded."""
    from daclip_lab.pipeline.loading import load

    return load(weights)


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory):
    """A folder with two small photos: `face.png` is 80 wide and 72 high, `cup.png` 96 wide and 64 high."""
    from skimage import data

    from daclip_lab.data.image_io import read_image, save_image

    folder = tmp_path_factory.mktemp("photos")
    save_image(read_image(data.astronaut()[20:308:4, 60:380:4]), folder / "face.png")
    save_image(read_image(data.coffee()[40:360:5, 60:540:5]), folder / "cup.png")
    return folder


@pytest.fixture(scope="session")
def photo(photo_folder):
    """One small photo as a tensor (3, 72, 80)."""
    from daclip_lab.data.image_io import read_image

    return read_image(photo_folder / "face.png")


@pytest.fixture(scope="module")
def browser():
    """Chromium. Not for all modules at once: while it is open, its event loop runs in the main thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        found = next(filter(None, map(shutil.which, names)), playwright.chromium.executable_path)
        if not os.path.exists(found):
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        with playwright.chromium.launch(executable_path=found, args=QUIET) as chromium:
            yield chromium
