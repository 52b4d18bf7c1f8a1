"""A wall shows the best, the median and the worst of each degradation, and says which are failures."""

import pytest
import torch

from daclip_lab.cli import main
from daclip_lab.data.photos import image_folder
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.evaluation.evaluation import evaluate
from daclip_lab.evaluation.examples import RANKS, Restoration, examples
from daclip_lab.evaluation.protocol import Protocol
from daclip_lab.figures.palette import RED
from daclip_lab.figures.restoration import fitted, restoration_wall
from daclip_lab.metrics.image_quality import psnr

PROTOCOL = Protocol(crop=32, crops=3, steps=1, mixtures=0)


@pytest.fixture
def photos(photo_folder):
    return image_folder(photo_folder)


def test_examples_are_those_of_the_evaluation_and_their_images_come_back(pipe, photos):
    result = evaluate(pipe, photos, PROTOCOL)
    found = examples(pipe, photos, result)
    assert [(each.degradation, each.rank) for each in found] == [
        (name, rank) for name in DEGRADATIONS for rank in RANKS
    ]
    rows = result.rows.assign(gain=result.rows.psnr - result.rows.psnr_input)
    for each in found:
        gains = rows.gain[rows.degradation == each.degradation].sort_values()
        wanted = {"best": gains.iloc[-1], "median": gains.iloc[3], "worst": gains.iloc[0]}
        assert each.psnr - each.psnr_input == pytest.approx(wanted[each.rank])
        for image, value in ((each.degraded, each.psnr_input), (each.restored, each.psnr)):
            assert psnr(image[None], each.clean[None]).item() == pytest.approx(value, abs=1e-2)
    with pytest.raises(InputError, match="restored nothing"):
        examples(pipe, photos, evaluate(pipe, photos, PROTOCOL, restore=False))


def tile(name, rank, gain, predicted=None, size=(32, 32)):
    images = dict.fromkeys(("degraded", "restored", "clean"), torch.rand(3, *size))
    return Restoration(degradation=name, rank=rank, predicted=predicted or name, psnr_input=20.0,
                       psnr=20.0 + gain, **images)  # fmt: skip


def test_failures_are_marked():
    figure = restoration_wall(
        [
            tile("hazy", "best", 3),
            tile("hazy", "median", 0, predicted="snowy"),
            tile("hazy", "worst", -2),
        ],
        photos=7,
    )
    texts = {text.get_text(): text.get_color() for text in figure.texts}
    assert texts["20.0 → 18.0  (-2.0 dB)"] == texts["classified as snowy"] == RED
    assert texts["20.0 → 23.0  (+3.0 dB)"] != RED
    assert any("7 photos" in text for text in texts)
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(images) == 9
    assert {image.shape for image in images} == {(128, 128, 3)}


def test_large_photos_are_shrunk_by_whole_numbers_and_fit():
    for size in ((321, 481), (481, 321), (640, 427), (200, 200)):
        height, width = fitted(torch.rand(3, *size)).shape[-2:]
        assert height <= 160
        assert width <= 240
        assert max(height / 160, width / 240) == 1 or size == (200, 200)
    image = torch.rand(3, 320, 480)
    assert torch.equal(fitted(image), torch.nn.functional.avg_pool2d(image, 2))


def test_the_command_draws_a_wall_of_photos_of_different_sizes(
    capsys, photo_folder, weights, tmp_path
):
    from PIL import Image

    target = tmp_path / "wall.bmp"  # matplotlib alone writes none
    run = ["wall", "--data", str(photo_folder), "--weights", str(weights), "--whole"]
    assert main([*run, "-o", str(target)]) == 0
    with Image.open(target) as picture:
        assert picture.height > 10 * 100
    assert "2 photos" in capsys.readouterr().out
    assert main([*run, "-o", str(tmp_path / "none" / "wall.png")]) == 2
    assert "does not exist" in capsys.readouterr().err
