"""The command builds on what --weights names, and trains for the degradations and the size that it finds."""

import json

import huggingface_hub
import open_clip
import pytest
import torch

import daclip_lab
from daclip_lab.cli import main
from daclip_lab.commands import init_weights as module
from daclip_lab.commands.init_weights import pretrained_clip, starting_weights
from daclip_lab.data.image_io import save_image
from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json
from daclip_lab.training import presets
from daclip_lab.training.checkpoints import read_tensors, write_tensors


@pytest.fixture
def pairs(tmp_path, photo):
    """Two degradations that are not of the ten, with three pairs in all."""
    for label, count in (("storm", 2), ("wet lens", 1)):
        for number in range(count):
            for kind, image in (("LQ", photo / 2), ("GT", photo)):
                folder = tmp_path / "pairs" / "train" / label / kind
                folder.mkdir(parents=True, exist_ok=True)
                save_image(image, folder / f"{number}.png")
    return tmp_path / "pairs"


@pytest.fixture
def pretrained(scale, tmp_path, monkeypatch):
    """A tiny scale whose CLIP is pretrained, and what the hub gives: a dict with the file in the cache and its own."""
    clip = scale.build_clip(seed=7)
    file = tmp_path / "open_clip_model.safetensors"
    write_tensors(file, clip.model.state_dict())
    hub = {"cached": None, "file": file, "asked": 0}

    def download(config):
        hub["asked"] += 1
        if hub["file"] is None:
            raise FileNotFoundError("Failed to download file\nwith a long story")
        return str(hub["file"])

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name: hub["cached"])
    monkeypatch.setattr(open_clip, "download_pretrained", download)
    paper = presets.paper()
    return presets.replace(scale, name="tiny", pretrained=paper.pretrained), clip, hub


def same(one, two):
    one, two = one.state_dict(), two.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one)


# ---- what is built on ----


def test_a_pretrained_clip_is_taken_if_it_is_here_and_fetched_if_one_asks(pretrained):
    scale, clip, hub = pretrained
    with pytest.raises(InputError, match=r"ViT-B-32 \(laion2b.* is not on this machine: --weights"):
        starting_weights(None, scale)
    assert hub["asked"] == 0
    assert same(starting_weights("pretrained", scale).clip, clip) and hub["asked"] == 1
    hub["cached"] = str(hub["file"])
    assert same(pretrained_clip(scale, download=False), clip) and hub["asked"] == 1
    hub["cached"] = hub["file"] = None
    with pytest.raises(InputError, match=r"cannot be downloaded: Failed to download file$"):
        starting_weights("pretrained", scale)


def test_random_weights_are_those_of_the_scale(scale):
    one, two = (starting_weights("random", scale) for _ in range(2))
    assert same(one.daclip, two.daclip)
    assert one.settings.clip == scale.clip
    with pytest.raises(InputError, match="smoke scale has no pretrained CLIP"):
        starting_weights("pretrained", scale)


def test_without_a_name_the_lab_is_built_on(scale, monkeypatch):
    monkeypatch.setattr(module, "load", lambda name: name)
    assert starting_weights(None, scale) == "lab"
    assert starting_weights("runs/mine", presets.paper()) == "runs/mine"


def test_a_restorer_is_not_steered_by_a_clip_alone(
    pretrained, pairs, tmp_path, capsys, monkeypatch
):
    scale, _, hub = pretrained
    hub["cached"] = str(hub["file"])
    monkeypatch.setitem(presets.SCALES, "tiny", lambda: scale)
    common = ("train", "restorer", "--scale", "tiny", "--data", str(pairs), "--steps", "1", "--out")
    assert main([*common, str(tmp_path / "run")]) == 2
    assert "holds no DA-CLIP" in capsys.readouterr().err


# ---- the degradations and the size of the data ----


def test_a_controller_learns_the_degradations_of_a_folder(pairs, tmp_path, monkeypatch):
    """Under their own names, in as many steps as the epochs of the scale take."""
    scale = presets.replace(presets.smoke(), epochs=3)
    monkeypatch.setitem(presets.SCALES, "smoke", lambda: scale)
    common = ["train", "daclip", "--scale", "smoke", "--data", str(pairs), "--weights", "random"]
    assert main([*common, "--batch", "2", "--out", str(tmp_path / "run")]) == 0
    pipe = daclip_lab.load(tmp_path / "run")
    assert pipe.settings.labels == ("storm", "wet lens") and not pipe.settings.synonyms
    recipe = read_json(tmp_path / "run" / "recipe.json")
    assert (recipe["steps"], recipe["batch_size"], recipe["synonyms"]) == (3, 2, False)
    assert main([*common, "--steps", "1", "--batch", "2", "--out", str(tmp_path / "one")]) == 0
    assert read_json(tmp_path / "one" / "recipe.json")["steps"] == 1


def test_one_degradation_alone(pairs, tmp_path, weights, capsys):
    common = ["train", "restorer", "--scale", "smoke", "--data", str(pairs), "--weights"]
    common = [*common, str(weights), "--steps", "1", "--batch", "2", "--only", "storm", "--out"]
    assert main([*common, str(tmp_path / "run")]) == 0
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text())
    assert line["step"] == 1
    # The classifier that steers it still answers as before.
    assert daclip_lab.load(tmp_path / "run").settings.labels == daclip_lab.LABELS
    common[1] = "daclip"
    assert main([*common, str(tmp_path / "none"), "--degradation-only"]) == 2
    assert "storm is the only degradation" in capsys.readouterr().err


def test_clip_and_controller_are_trained_further_as_they_are(tmp_path):
    """Each from the weights of --start; a warm-up is at most a tenth of the steps."""
    common = ["train", "daclip", "--scale", "smoke", "--data", "bundled", "--weights", "random"]
    assert main([*common, "--steps", "1", "--out", str(tmp_path / "one")]) == 0
    start = ["--steps", "1", "--learning-rate", "1e-12", "--start", str(tmp_path / "one")]
    for part, of in (("daclip", "controller"), ("clip", "clip")):
        weights = ["--weights", str(tmp_path / "one")] if part == "daclip" else []
        call = ["train", part, "--scale", "smoke", *weights, *start]
        assert main([*call, "--out", str(tmp_path / part)]) == 0
        before, after = (
            read_tensors(tmp_path / run / f"{of}.safetensors") for run in ("one", part)
        )
        for name, tensor in before.items():
            torch.testing.assert_close(after[name], tensor, msg=name)
    assert read_json(tmp_path / "clip" / "recipe.json")["warmup"] == 0
