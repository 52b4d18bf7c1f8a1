"""The command line does what the library does; what cannot be used gets one line, exit code 2, and leaves nothing."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import daclip_lab
from daclip_lab.cli import main
from daclip_lab.degradations.registry import DEGRADATIONS, LABELS


@pytest.fixture
def out(tmp_path):
    """An empty folder for results."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def files(tmp_path, photo_folder):
    """One file of every kind that a person may hand over; those in `good` are images."""
    folder = tmp_path / "files"
    folder.mkdir()
    picture = Image.open(photo_folder / "face.png").convert("RGB")
    picture.save(folder / "photo.png")
    picture.convert("L").save(folder / "gray.png")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("RGBA").save(folder / "rgba.png")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture.save(folder / "turned.jpg", exif=exif)
    picture.save(folder / "photo.jpg")
    whole = (folder / "photo.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    picture.crop((0, 0, 1, 1)).save(folder / "pixel.png")
    picture.crop((0, 0, 15, 15)).save(folder / "small.png")
    return folder


def refused(capsys, *arguments):
    """The one line on standard error with which a command ends."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    told = capsys.readouterr()
    lines = [line for line in told.err.replace("\r", "\n").splitlines() if line.strip()]
    # A progress bar may have been there; the refusal is the last line, and alone of its kind.
    assert lines[-1].startswith("daclip-lab: ")
    assert all("%|" in line or "it/s" in line or "photo/s" in line for line in lines[:-1]), lines
    assert not told.out
    return lines[-1]


def run(*arguments):
    assert main([str(a) for a in arguments]) == 0


# ---- classify ----


def test_classify_prints_a_line_per_image(capsys, files, weights):
    run("classify", files / "photo.png", files / "gray.png", "--weights", weights)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{files / 'photo.png'}: ")
    assert lines[0].endswith("%)")


def test_classify_as_json(capsys, files, weights):
    run("classify", files / "photo.png", files / "rgba.png", "--weights", weights, "--json")
    answers = json.loads(capsys.readouterr().out)
    assert [answer["image"] for answer in answers] == [
        str(files / "photo.png"),
        str(files / "rgba.png"),
    ]
    for answer in answers:
        assert set(answer) == {"image", "degradation", "probability", "probabilities"}
        shares = answer["probabilities"]
        assert tuple(shares) == LABELS
        assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
        assert answer["degradation"] == max(shares, key=shares.get)
        assert answer["probability"] == max(shares.values())


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_here_is_refused(capsys, photo_folder, weights, out, device):
    photo, last = photo_folder / "face.png", ("--weights", weights, "--device", device)
    for command in (
        ("classify", photo),
        ("restore", photo, "-o", out / "r.png"),
        ("embed", photo_folder, "-o", out / "t.parquet"),
        ("report", photo_folder, "-o", out / "r.html"),
        ("evaluate", "--data", photo_folder),
        ("wall", "--data", photo_folder, "-o", out / "w.png"),
        ("calibrate", "--data", photo_folder),
    ):
        assert repr(device) in refused(capsys, *command, *last)
    assert not list(out.iterdir())


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"daclip-lab {daclip_lab.__version__}\n"


@pytest.mark.parametrize(
    "name", ["gray.png", "palette.png", "rgba.png", "deep.png", "pixel.png", "turned.jpg"]
)
def test_unusual_images_are_classified(capsys, files, weights, name):
    run("classify", files / name, "--weights", weights)
    assert name in capsys.readouterr().out


# ---- restore and degrade ----


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("photo.png", (80, 72)),
        ("gray.png", (80, 72)),
        ("deep.png", (80, 72)),
        ("turned.jpg", (72, 80)),
    ],
)
def test_restore_writes_an_image_of_the_same_size(files, weights, out, name, size):
    run("restore", files / name, "-o", out / "r.png", "--weights", weights, "--steps", 1)
    with Image.open(out / "r.png") as picture:
        assert (picture.size, picture.mode) == (size, "RGB")
    assert [p.name for p in out.iterdir()] == ["r.png"]


def test_restore_hands_every_option_on(files, weights, out, pipe):
    run(
        "restore", files / "photo.png", "-o", out / "r.png", "--weights", weights,
        "--steps", 3, "--sampler", "dpmpp-2m", "--seed", 4,
    )  # fmt: skip
    wanted = pipe.restore(files / "photo.png", steps=3, sampler="dpmpp-2m", seed=4)
    assert np.array_equal(np.asarray(Image.open(out / "r.png")), np.asarray(wanted))


def test_degrade_is_the_librarys(files, out):
    run(
        "degrade", files / "photo.png", "--as", "noisy", "--severity", 0.7, "--seed", 3,
        "-o", out / "d.png",
    )  # fmt: skip
    wanted = daclip_lab.degrade(files / "photo.png", "noisy", severity=0.7, seed=3)
    assert np.array_equal(np.asarray(Image.open(out / "d.png")), np.asarray(wanted))


# ---- evaluate ----


def test_evaluate_prints_the_table_of_a_folder(capsys, photo_folder, weights):
    run("evaluate", "--data", photo_folder, "--weights", weights, "--steps", 1, "--crops", 1)
    text = capsys.readouterr().out
    assert "protocol" in text
    for name in (*DEGRADATIONS, "overall", "clean"):
        assert name in text


def test_evaluate_as_json(capsys, photo_folder, weights):
    run(
        "evaluate", "--data", photo_folder, "--weights", weights, "--steps", 1, "--crops", 1, "--json"
    )  # fmt: skip
    content = json.loads(capsys.readouterr().out)
    assert len(content["protocol"]["hash"]) == 8
    assert content["protocol"]["steps"] == 1
    line = content["degradations"]["overall"]
    assert (line["n"], line["photos"]) == (20, 2)
    for measure in ("accuracy", "psnr_input", "psnr", "ssim_input", "ssim"):
        assert line[f"{measure}_low"] <= line[measure] <= line[f"{measure}_high"]


# ---- train ----


def state(folder, part):
    from daclip_lab.training.checkpoints import read_tensors

    return read_tensors(folder / f"{part}.safetensors")


def test_the_three_trainings_in_a_row(capsys, photo_folder, out):
    """From nothing to a folder that classifies and restores."""
    common = ("--scale", "smoke", "--data", photo_folder, "--steps", 2)
    run("train", "clip", *common, "--out", out / "clip")
    run("train", "daclip", *common, "--out", out / "daclip", "--weights", out / "clip")
    run("train", "restorer", *common, "--out", out / "all", "--weights", out / "daclip")
    trained = daclip_lab.load(out / "all")
    assert trained.classify(photo_folder / "face.png").shape == (11,)
    assert trained.restore(photo_folder / "face.png", steps=1).size == (80, 72)
    lines = [json.loads(line) for line in (out / "daclip" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
    assert np.isfinite(lines[-1]["loss"])
    for folder in ("clip", "daclip", "all"):
        assert not list((out / folder).glob("*.tmp"))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_training_interrupted_at_the_command_line_goes_on_exactly(
    capsys, monkeypatch, photo_folder, out, sent
):
    """By Ctrl-C, or by the signal that a scheduler sends before it kills."""
    from daclip_lab.training import objectives

    # A shell's background jobs are born deaf to Ctrl-C; so may be this one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGTERM)
    common = ("train", "clip", "--scale", "smoke", "--data", photo_folder, "--out")
    run(*common, out / "whole")
    plain, calls = objectives.multi_positive_info_nce, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            os.kill(os.getpid(), sent)
        return plain(*args)

    monkeypatch.setattr(objectives, "multi_positive_info_nce", interrupted)
    assert main([str(a) for a in (*common, out / "parts")]) == 130
    assert signal.getsignal(signal.SIGTERM) == before
    assert not (out / "parts" / "clip.safetensors").exists()
    monkeypatch.setattr(objectives, "multi_positive_info_nce", plain)
    run(*common, out / "parts", "--resume")
    whole, parts = state(out / "whole", "clip"), state(out / "parts", "clip")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_finished_training_can_be_resumed_in_vain(photo_folder, out):
    common = ("train", "clip", "--scale", "smoke", "--data", photo_folder, "--out", out / "run")
    run(*common)
    before = state(out / "run", "clip")
    run(*common, "--resume")
    after = state(out / "run", "clip")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_restorer_of_another_shape_than_the_given_one_is_saved_as_it_is(
    photo_folder, out, weights
):
    """The scale's network is trained, whatever restorer came with --weights: its own shape must be written down."""
    older = out / "older"
    shutil.copytree(weights, older)
    content = json.loads((older / "pipeline.json").read_text())
    content["network"]["width"] = 12
    (older / "pipeline.json").write_text(json.dumps(content))
    (older / "restorer.safetensors").unlink()
    run(
        "train", "restorer", "--scale", "smoke", "--data", photo_folder, "--steps", 1,
        "--weights", older, "--out", out / "new",
    )  # fmt: skip
    assert daclip_lab.load(out / "new").restorer is not None


def test_training_on_pairs_of_files(capsys, photo, out, weights):
    from daclip_lab.data.image_io import save_image

    for kind in ("LQ", "GT"):
        folder = out / "pairs" / "hazy" / kind
        folder.mkdir(parents=True)
        save_image(photo, folder / "1.png")
    run(
        "train", "restorer", "--scale", "smoke", "--data", out / "pairs", "--steps", 1,
        "--out", out / "run", "--weights", weights,
    )  # fmt: skip
    assert (out / "run" / "restorer.safetensors").exists()
    assert "data: 1 pairs: hazy 1" in capsys.readouterr().out
    for kind in ("LQ", "GT"):
        folder = out / "pairs" / "hazy" / kind
        folder.rename(folder.with_name(f"{kind}.old")).rename(folder.with_name(kind.lower()))
    message = refused(
        capsys, "train", "clip", "--scale", "smoke", "--data", out / "pairs", "--out", out / "low"
    )
    assert "in capitals" in message


def test_refused_trainings(capsys, files, out, photo_folder, weights):
    def train(part, *options, run="run"):
        return refused(
            capsys,
            "train",
            part,
            "--scale",
            "smoke",
            "--data",
            photo_folder,
            "--out",
            out / run,
            *options,
        )

    assert "'nowhere'" in train("daclip", "--weights", "nowhere")
    assert "learning_rate=nan" in train("clip", "--learning-rate", "nan")
    assert "does not match the model" in train("daclip", "--weights", weights, "--start", "lab")
    assert "does not exist" in train("clip", "--resume")
    assert "'huge' is unknown" in train("clip", "--scale", "huge")
    assert "no such folder" in train("clip", "--data", out / "none")
    assert "batch" in train("clip", "--batch", 0)
    assert "-1" in train("clip", "--seed", -1)
    assert not (out / "run").exists()
    (out / "taken").write_text("a file")
    assert "taken" in train("clip", "--steps", 1, run="taken")
    assert (out / "taken").read_text() == "a file"


def test_a_run_is_not_resumed_with_another_recipe(capsys, out, photo_folder):
    common = ("train", "clip", "--scale", "smoke", "--data", photo_folder, "--out", out / "run")
    run(*common, "--steps", 1)
    assert "steps=1 there and 2 here" in refused(capsys, *common, "--steps", 2, "--resume")


# ---- what cannot be used ----

BAD = {
    "missing.png": "no such file",
    "text.png": "not an image",
    "empty.png": "empty",
    "truncated.jpg": "cannot be read",
    "": "folder",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_get_one_line_and_leave_nothing(capsys, files, weights, out, name):
    image = files / name if name else files
    for command in (
        ("classify", image, "--weights", weights),
        ("restore", image, "-o", out / "r.png", "--weights", weights),
        ("degrade", image, "--as", "hazy", "-o", out / "r.png"),
    ):
        line = refused(capsys, *command)
        assert str(image) in line
        assert BAD[name] in line
    assert not list(out.iterdir())


def test_one_bad_image_among_good_ones_is_named(capsys, files, weights):
    line = refused(
        capsys, "classify", files / "photo.png", files / "text.png", "--weights", weights, "--json"
    )
    assert "text.png" in line


def test_images_that_are_too_small_are_named(capsys, files, weights, out):
    for name in ("pixel.png", "small.png"):
        line = refused(capsys, "restore", files / name, "-o", out / "r.png", "--weights", weights)
        assert "16x16" in line
    line = refused(capsys, "degrade", files / "pixel.png", "--as", "hazy", "-o", out / "r.png")
    assert "8x8" in line
    assert not list(out.iterdir())


def test_bad_values_get_one_line_and_leave_nothing(capsys, files, weights, out):
    photo, target = files / "photo.png", out / "r.png"

    def degrade(*options):
        return refused(capsys, "degrade", photo, "-o", target, *options)

    def restore(*options):
        return refused(capsys, "restore", photo, "-o", target, "--weights", weights, *options)

    assert "foggy" in degrade("--as", "foggy")
    for severity in (2, -0.1, "nan"):
        assert str(severity) in degrade("--as", "hazy", "--severity", severity)
    assert "-1" in degrade("--as", "hazy", "--seed", -1)
    assert "'ddpm'" in restore("--sampler", "ddpm")
    assert "steps=0" in restore("--steps", 0)
    assert "steps=101" in restore("--steps", 101)
    assert "-1" in restore("--seed", -1)
    assert "'nowhere'" in restore("--weights", "nowhere")
    assert "r.xyz" in restore("-o", out / "r.xyz")
    assert "does not exist" in restore("-o", out / "none" / "r.png")
    assert not list(out.iterdir())


def test_weights_that_do_not_match_are_refused(capsys, files, weights, tmp_path, out):
    folder = tmp_path / "w"
    shutil.copytree(weights, folder)
    content = json.loads((folder / "pipeline.json").read_text())
    content["network"]["width"] = 12
    (folder / "pipeline.json").write_text(json.dumps(content))
    line = refused(capsys, "restore", files / "photo.png", "-o", out / "r.png", "--weights", folder)
    assert "does not match" in line
    (folder / "restorer.safetensors").unlink()
    line = refused(capsys, "restore", files / "photo.png", "-o", out / "r.png", "--weights", folder)
    assert "no restorer" in line
    assert not list(out.iterdir())


def test_what_was_there_stays_when_restoring_fails(capsys, files, weights, out):
    target = out / "r.png"
    target.write_bytes(b"mine")
    for options in (("--sampler", "ddpm"), ("--steps", 0), ("--weights", "nowhere")):
        refused(
            capsys, "restore", files / "photo.png", "-o", target, "--weights", weights, *options
        )
    refused(capsys, "restore", files / "truncated.jpg", "-o", target, "--weights", weights)
    assert target.read_bytes() == b"mine"
    assert [p.name for p in out.iterdir()] == ["r.png"]


def test_refused_evaluations(capsys, files, photo_folder, weights, out):
    def evaluate(*options):
        return refused(
            capsys, "evaluate", "--data", photo_folder, "--weights", weights, "--crops", 1, *options
        )

    assert "no such folder" in evaluate("--data", out / "none")
    assert "holds no image" in evaluate("--data", out)
    assert "'ddpm'" in evaluate("--sampler", "ddpm")
    assert "steps=0" in evaluate("--steps", 0)
    assert "crops" in evaluate("--crops", -1)
    assert "-1" in evaluate("--seed", -1)
    (out / "text.png").write_text("no image")
    assert "text.png" in evaluate("--data", out)
    Image.new("RGB", (20, 20)).save(out / "text.png")
    assert "20x20" in evaluate("--data", out)


def test_targets_are_checked_before_the_work(capsys, monkeypatch, photo_folder, out, weights):
    def work(*_, **__):
        raise AssertionError("weights were loaded")

    for module in ("pipeline.loading", "commands.init_weights"):
        monkeypatch.setattr(f"daclip_lab.{module}.load", work)
    (out / "file").write_text("mine")
    photo = photo_folder / "face.png"
    for command, targets in (
        (("embed", photo_folder, "-o"), ("t.csv", "none/t.parquet")),
        (("report", photo_folder, "-o"), ("none/r.html",)),
        (("restore", photo, "-o"), ("r.xyz", "none/r.png")),
        (("wall", "--data", photo_folder, "-o"), ("none/w.png",)),
        (("train", "daclip", "--scale", "smoke", "--out"), ("file",)),
        (("import-official", "daclip.pt", "-o"), ("file",)),
        (("calibrate", "--data", photo_folder, "--weights"), ("lab",)),
    ):
        for target in targets:
            assert target.rpartition("/")[2] in refused(capsys, *command, out / target)
    assert [path.name for path in out.iterdir()] == ["file"]


def test_an_address_is_not_an_image(capsys, weights):
    url = "https://example.com/a.png"
    assert url in refused(capsys, "classify", url, "--weights", weights)


def test_calibrating_needs_a_folder_of_weights(capsys, photo_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "lab" in refused(capsys, "calibrate", "--data", photo_folder, "--weights", "lab")
    assert not list(tmp_path.iterdir())


def test_a_training_uses_all_cores_but_one(monkeypatch, photo_folder, out):
    from daclip_lab.commands.training import progress
    from daclip_lab.files.storage import read_json

    monkeypatch.setattr(progress, "cores", lambda: 3)
    common = ("train", "clip", "--scale", "smoke", "--data", photo_folder, "--steps", 1, "--out")
    run(*common, out / "a")
    run(*common, out / "b", "--workers", 0)
    for name, workers in (("a", 2), ("b", 0)):
        assert read_json(out / name / "recipe.json")["workers"] == workers


def test_a_command_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["improve", "x.png"])
    assert ended.value.code == 2
    assert "improve" in capsys.readouterr().err
