"""The paper's protocol measures the files that it writes, resumes, and says what it could not measure."""

import dataclasses
import json
import shutil

import pytest
import torch

from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.diffusion.samplers import SampleStep
from daclip_lab.errors import InputError
from daclip_lab.evaluation import paper_protocol
from daclip_lab.evaluation.paper_protocol import PaperProtocol, measure
from daclip_lab.metrics import image_quality
from daclip_lab.pipeline.pipeline import Pipeline

PROTOCOL = PaperProtocol(steps=1)


@pytest.fixture(autouse=True)
def no_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def data(tmp_path_factory, photo):
    """Two rainy pairs and two hazy ones, of 40x36 and 44x36 pixels."""
    root = tmp_path_factory.mktemp("pairs")
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    for label in ("rainy", "hazy"):
        for folder, image in (("GT", photo), ("LQ", (photo + 0.1 * noise).clamp(0, 1))):
            (root / "test" / label / folder).mkdir(parents=True)
            save_image(image[:, :36, :40], root / "test" / label / folder / "1.png")
            save_image(image[:, 36:, 20:64], root / "test" / label / folder / "2.png")
    return root


@pytest.fixture(scope="module")
def once(weights, data, tmp_path_factory):
    """The table of one run, and the folder that it wrote."""
    from daclip_lab.pipeline.loading import load

    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(out / "torch"))
        return measure(load(weights), data, PROTOCOL, out=out), out


# ---- what is measured ----


def test_the_table_has_the_promised_rows_and_columns(once):
    table = once[0].table()
    assert list(table.index) == ["hazy", "rainy", "average"]
    assert table.n.tolist() == [2, 2, 4]
    for m in ("accuracy", "clip_accuracy", "psnr_input", "psnr", "ssim", "psnr_y", "ssim_y"):
        low, mean, high = (table.loc["rainy", m + end] for end in ("_low", "", "_high"))
        assert low <= mean <= high
        assert table.loc["average", m] == pytest.approx(table[m][:2].mean())


def test_the_restored_file_is_measured_without_its_border(once, data):
    result, out = once
    (row,) = [row for row in result.images if row["image"] == "rainy/2"]
    restored = read_image(out / "rainy" / "2.png")[None, :, 4:-4, 4:-4]
    clean, degraded = (
        read_image(data / "test" / "rainy" / part / "2.png")[None, :, 4:-4, 4:-4]
        for part in ("GT", "LQ")
    )
    luma = image_quality.to_y(restored), image_quality.to_y(clean)
    assert row["psnr_input"] == pytest.approx(image_quality.psnr(degraded, clean).item())
    assert row["psnr"] == pytest.approx(image_quality.psnr(restored, clean).item())
    assert row["ssim"] == pytest.approx(image_quality.ssim(restored, clean).item())
    assert row["psnr_y"] == pytest.approx(image_quality.psnr(*luma).item())
    assert row["ssim_y"] == pytest.approx(image_quality.ssim(*luma).item())


def test_rain_is_reported_on_the_luma(once):
    table = once[0].table()
    for m in ("psnr", "ssim"):
        assert table.loc["rainy", f"{m}_reported"] == table.loc["rainy", f"{m}_y"]
        assert table.loc["hazy", f"{m}_reported"] == table.loc["hazy", m]


def test_names_are_the_nearest_of_the_ten_bare_words(pipe, data, monkeypatch):
    words = pipe.daclip.encode_text(list(DEGRADATIONS))

    rainy, hazy = (words[None, DEGRADATIONS.index(name)] for name in ("rainy", "hazy"))
    monkeypatch.setattr(pipe, "encode_degradation", lambda image: rainy)
    monkeypatch.setattr(pipe, "encode_clip", lambda image: hazy)
    table = measure(pipe, data, PROTOCOL).table()
    assert table.accuracy.tolist() == [0, 1, 0.5]
    assert table.clip_accuracy.tolist() == [1, 0, 0.5]


def test_a_degradation_that_is_none_of_the_ten_has_no_accuracy(pipe, data, tmp_path):
    (tmp_path / "foggy").symlink_to(data / "test" / "hazy")
    result = measure(pipe, tmp_path, PROTOCOL)
    assert "accuracy" not in result.table()
    assert result.table().loc["foggy", "psnr"] > 0


def test_weights_without_a_restorer_only_name(pipe, data):
    result = measure(Pipeline(pipe.settings, daclip=pipe.daclip), data, PROTOCOL)
    assert list(result.images[0]) == ["image", "degradation", "content", "predicted_degradation",
                                      "clip_predicted_degradation"]  # fmt: skip
    assert result.notes == []
    assert "PSNR before" not in str(result)


def test_weights_that_were_trained_without_words_only_restore(pipe, data):
    settings = dataclasses.replace(pipe.settings, labels=())
    wild = Pipeline(settings, daclip=pipe.daclip, restorer=pipe.restorer)
    result = measure(wild, data, PROTOCOL)
    assert "predicted_degradation" not in result.images[0]
    assert result.images[0]["psnr"] > 0
    assert "accuracy" not in result.table()


def test_the_first_sampler_can_be_asked_for(pipe, data, once, monkeypatch):
    first = PaperProtocol(steps=2, sampler="euler-maruyama")
    assert measure(pipe, data, first).table().psnr["rainy"] != once[0].table().psnr["rainy"]
    asked = []

    def euler_maruyama(predict, sde, degraded, *, steps, generator):
        asked.append(steps)
        yield SampleStep(degraded, 0, degraded)

    monkeypatch.setattr(paper_protocol, "euler_maruyama", euler_maruyama)
    table = measure(pipe, data, PaperProtocol(sampler="euler-maruyama")).table()
    assert asked == [pipe.sde.steps] * 4
    assert table.psnr.tolist() == pytest.approx(table.psnr_input.tolist(), abs=0.01)
    with pytest.raises(InputError, match="sampler 'em' is unknown"):
        measure(pipe, data, PaperProtocol(steps=1, sampler="em"))


# ---- networks ----


def test_absent_networks_are_told_once_and_the_rest_is_printed(once):
    result, _ = once
    lpips, fid = result.notes
    assert "LPIPS needs alexnet-owt-7be5be79.pth" in lpips
    assert "FID needs weights-inception-2015-12-05-6726825d.pth" in fid
    text = str(result)
    assert text.count("alexnet") == text.count("inception") == 1
    assert "PSNR*" in text
    assert "nan" not in text


def test_what_networks_see_is_added(pipe, data, once, monkeypatch, tmp_path):
    monkeypatch.setattr(image_quality, "network", lambda name, device="cpu": None)
    monkeypatch.setattr(image_quality, "lpips", lambda a, b: (a - b).abs().mean((1, 2, 3)))
    monkeypatch.setattr(image_quality, "fid", lambda a, b: float(len([*a]) + 10 * len([*b])))
    (tmp_path / "out").symlink_to(once[1])
    monkeypatch.setattr(pipe, "restore", None)  # the earlier run's files are looked at
    result = measure(pipe, data, PROTOCOL, out=tmp_path / "out")
    assert result.notes == []
    assert result.fid == {"hazy": 22, "rainy": 22}
    table = result.table()
    assert table.fid.tolist() == [22, 22, 22]
    assert table.loc["hazy", "psnr"] == once[0].table().loc["hazy", "psnr"]
    assert (table.lpips > 0).all()
    assert "22.00" in str(result)


# ---- files ----


def test_an_interrupted_run_goes_on(pipe, data, once, monkeypatch, tmp_path):
    conditioning, restored = pipe.conditioning, []

    def interrupted(image):
        if len(restored) == 2:
            raise KeyboardInterrupt
        restored.append(image)
        return conditioning(image)

    monkeypatch.setattr(pipe, "conditioning", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(pipe, data, PROTOCOL, out=tmp_path / "out")
    part = tmp_path / "out" / "images.jsonl"
    assert len(part.read_text().splitlines()) == 1 + 2
    with open(part, "a") as file:
        file.write('{"image": "rainy/1", "degr')  # the power failed here
    (tmp_path / "out" / "hazy" / "2.png").unlink()
    restored.clear()
    monkeypatch.setattr(
        pipe, "conditioning", lambda image: restored.append(image) or conditioning(image)
    )
    result = measure(pipe, data, PROTOCOL, out=tmp_path / "out")
    assert len(restored) == 3
    assert result.images == once[0].images
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"hazy", "rainy", "images.jsonl"}
    again = measure(pipe, data, PROTOCOL, out=tmp_path / "out")
    assert len(restored) == 3 and again.images == result.images


def test_results_of_other_settings_are_not_mixed(pipe, data, once):
    with pytest.raises(InputError, match="protocol"):
        measure(pipe, data, dataclasses.replace(PROTOCOL, seed=1), out=once[1])
    with torch.no_grad():
        next(iter(pipe.restorer.parameters())).add_(1)
    with pytest.raises(InputError, match="weights"):
        measure(pipe, data, PROTOCOL, out=once[1])


def test_a_pair_of_other_content_is_measured_again(pipe, data, once, tmp_path, photo):
    shutil.copytree(data, tmp_path / "data")
    shutil.copytree(once[1], tmp_path / "out")
    save_image(photo[:, 36:, 20:64] * 0.5, tmp_path / "data" / "test" / "rainy" / "LQ" / "2.png")
    again = measure(pipe, tmp_path / "data", PROTOCOL, out=tmp_path / "out")
    new, old = ({row["image"]: row for row in table.images} for table in (again, once[0]))
    changed = [name for name in new if new[name]["psnr_input"] != old[name]["psnr_input"]]
    assert changed == ["rainy/2"]


def test_folders_may_lie_in_the_root(pipe, data, once):
    assert measure(pipe, data / "test", PROTOCOL).images == once[0].images


def test_training_pairs_are_not_measured(pipe, data, tmp_path):
    (tmp_path / "train").symlink_to(data / "test")
    with pytest.raises(InputError, match="no folder test"):
        measure(pipe, tmp_path, PROTOCOL)


def test_pairs_that_do_not_fit_are_named(pipe, data, tmp_path, photo):
    for folder in ("LQ", "GT"):
        (tmp_path / "rainy" / folder).mkdir(parents=True)
        save_image(photo[:, :30], tmp_path / "rainy" / folder / "low.png")
    with pytest.raises(InputError, match=r"low.png is 80x30 .* at least 31x31"):
        measure(pipe, tmp_path, PROTOCOL)
    for folder in ("LQ", "GT"):
        save_image(photo, tmp_path / "rainy" / folder / "low.jpg")
    with pytest.raises(InputError, match=r"low.jpg and .*low.png differ only by ending"):
        measure(pipe, tmp_path, PROTOCOL)


def test_the_output_is_a_folder(pipe, data, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="wanted a folder to write to"):
        measure(pipe, data, PROTOCOL, out=tmp_path / "out")


# ---- the command ----


def test_the_command_prints_a_table_or_json(weights, data, capsys):
    from daclip_lab.cli import main

    run = ["evaluate", "--protocol", "paper", "--data", str(data), "--weights", str(weights)]
    assert main([*run, "--steps", "1"]) == 0
    text = capsys.readouterr().out
    assert "average" in text and "LPIPS needs" in text
    assert main([*run, "--steps", "1", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content["degradations"]) == {"hazy", "rainy", "average"}
    assert content["degradations"]["average"]["psnr_low"] is None
    assert content["protocol"] == {"steps": 1, "sampler": "posterior", "seed": 0}
    for option in (["--whole"], ["--mixtures", "0"], ["--window", "64"]):
        assert main([*run, *option]) == 2
        assert f"{option[0]} cannot be used with --protocol paper" in capsys.readouterr().err
