"""The authors' files become a folder that loads, at full size and with the authors' numbers, or are refused."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import authors_unet
import numpy as np
import open_clip
import pytest
import torch

from daclip_lab.cli import main
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.errors import InputError
from daclip_lab.models.clip import ClipConfig, named_config, views
from daclip_lab.pipeline.convert_official import (
    authors_name,
    import_official,
    read_checkpoint,
    read_released,
)
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline
from daclip_lab.training.checkpoints import read_tensors

ASSETS = Path(__file__).parent / "assets"


def refusal(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- at full size ----


def random_weights(shapes, seed, *, rows_alike=True):
    """Random float16 tensors of those shapes; with equal rows, a file of 300 million numbers is small."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        drawn = torch.randn(shape[-1:] if rows_alike else shape, generator=generator)
        tensors[name] = drawn.mul(0.02).half().expand(tuple(shape))
    return tensors


def with_twins(tensors):
    """As the authors' class is saved: the frozen image tower a second time."""
    twins = {
        name.removeprefix("clip."): tensor
        for name, tensor in tensors.items()
        if name.startswith("clip.visual.")
    }
    return tensors | twins


def authors_shapes(architecture):
    """Names and shapes of a DA-CLIP of the authors' class, from open_clip's own."""
    config = named_config(architecture)
    with torch.device("meta"):
        clip = open_clip.CLIP(config.embed_dim, config.vision, config.text).state_dict()
    shapes = {"logit_scale": []} | {f"clip.{n}": list(t.shape) for n, t in clip.items()}
    for name, tensor in clip.items():
        if name.startswith("visual."):
            rest = name.removeprefix("visual.").replace("transformer.", "transformer.transformer.")
            shapes[name] = shapes[f"visual_control.{rest}"] = list(tensor.shape)
    width = config.vision["width"]
    for block in range(config.vision["layers"]):
        zero = f"visual_control.transformer.zero_modules.{block}"
        shapes |= {f"{zero}.weight": [width, width], f"{zero}.bias": [width]}
    return shapes


def unet_shapes():
    return json.loads((ASSETS / "unet_shapes.json").read_text())


def test_the_released_files_are_imported_at_full_size(tmp_path, capsys):
    shapes = json.loads((ASSETS / "daclip_shapes.json").read_text())
    assert len(shapes) == 631
    assert shapes == authors_shapes("ViT-B-32")
    daclip = random_weights(shapes, 1)
    restorer = random_weights(unet_shapes(), 2, rows_alike=False)
    daclip["logit_scale"] = torch.tensor(4.6).half()
    files = tmp_path / "daclip_ViT-B-32.pt", tmp_path / "universal-ir.pth"
    wrapped = {f"module.{name}": t for name, t in with_twins(daclip).items()}
    torch.save({"epoch": 50, "name": "daclip", "state_dict": wrapped}, files[0])
    torch.save(restorer, files[1])

    folder = tmp_path / "official"
    assert main(["import-official", *map(str, files), "-o", str(folder)]) == 0
    assert "uncompleted" in capsys.readouterr().out
    settings = json.loads((folder / "pipeline.json").read_text())
    assert settings["clip"]["vision"]["image_size"] == 224
    assert settings["clip"]["mean"] == [0.48145466, 0.4578275, 0.40821073]
    assert settings["clip"]["std"] == [0.26862954, 0.26130258, 0.27577711]
    assert (settings["view"], settings["steps"], settings["synonyms"]) == ("resize", 100, False)
    assert settings["network"]["scale"] == 1
    assert list(settings["source"]) == ["daclip_ViT-B-32.pt", "universal-ir.pth"]
    assert all(len(digest) == 64 for digest in settings["source"].values())

    pipe = load(folder)
    controller = pipe.daclip.controller
    assert sum(p.numel() for p in controller.parameters()) == 94_936_320 + 513
    assert not any(p.any() for p in controller.pooling.parameters())  # the authors have no pooling
    assert sum(p.numel() for p in pipe.restorer.parameters()) == 48_975_747
    own = pipe.daclip.state_dict()
    for name, tensor in own.items():
        if ".pooling." not in name:
            assert torch.equal(tensor, daclip[authors_name(name)].float()), name
    for name, tensor in pipe.restorer.state_dict().items():
        assert torch.equal(tensor, restorer[name].float()), name
    photo = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))
    answer = pipe.classify(photo)
    assert tuple(answer.index) == DEGRADATIONS
    assert answer.sum() == pytest.approx(1, abs=1e-5)
    assert pipe.restore(photo, steps=1).size == (56, 40)


def test_wild_ir_is_recognised_at_full_size(tmp_path):
    shapes = unet_shapes()
    for name in [n for n in shapes if n.startswith(("prompt", "text_mlp"))]:
        del shapes[name]
    for name, shape in shapes.items():
        if "attn2.to_k" in name or "attn2.to_v" in name:
            shape[1] = 768
    shapes |= {"downsample.weight": [64, 64, 4, 4], "downsample.bias": [64]}
    shapes |= {"upsample.1.weight": [64, 64, 3, 3], "upsample.1.bias": [64]}
    files = tmp_path / "wild-daclip_ViT-L-14.pt", tmp_path / "wild-ir.pth"
    daclip = random_weights(authors_shapes("ViT-L-14"), 3)
    torch.save({"state_dict": with_twins(daclip)}, files[0])
    torch.save(random_weights(shapes, 4), files[1])

    settings, weights = read_released(*files)
    assert settings.clip == named_config("ViT-L-14")
    assert settings.network["scale"] == 0.5
    assert not settings.network["use_degradation"]
    assert settings.labels == ()
    assert weights["restorer"].keys() == shapes.keys()
    assert weights["controller"]["controller.zeros.23.weight"].shape == (1024, 1024)
    assert {t.dtype for part in weights.values() for t in part.values()} == {torch.float16}


# ---- with the authors' numbers ----


def arrays(name):
    with np.load(ASSETS / f"{name}.npz") as file:
        found = {k: torch.from_numpy(np.asarray(file[k])) for k in file.files if k != "config"}
        return found, json.loads(str(file["config"]))


def weights_of(found):
    return {name[2:]: value for name, value in found.items() if name.startswith("w.")}


@pytest.fixture(scope="module")
def reference():
    """The reference DA-CLIP and U-Net, and what it takes to import something so small."""
    clip, of_clip = arrays("daclip")
    net, unet = authors_unet.reference("unet")
    small = {
        "clip": ClipConfig(
            embed_dim=of_clip["embed_dim"], vision=of_clip["vision_cfg"], text=of_clip["text_cfg"]
        ),
        "network": {"kind": "unet", "channels": net.channels, "multipliers": (1, 1, 1, 2)},
    }
    return clip, unet, small


@pytest.fixture
def files(reference, tmp_path):
    clip, unet, _ = reference
    wrapped = {"epoch": 1, "state_dict": with_twins(weights_of(clip))}
    torch.save(wrapped, tmp_path / "daclip.pt")
    torch.save(weights_of(unet), tmp_path / "restorer.pth")
    return tmp_path / "daclip.pt", tmp_path / "restorer.pth"


def test_a_restorer_without_embeddings_is_imported_as_such(reference, files, tmp_path):
    net, plain = authors_unet.reference("unet_plain")
    torch.save(weights_of(plain), tmp_path / "plain.pth")
    settings, weights = read_released(files[0], tmp_path / "plain.pth", **reference[2])
    assert not settings.network["use_content"] and not settings.network["use_degradation"]
    assert weights["restorer"].keys() == net.state_dict().keys()


@pytest.fixture
def imported(reference, files, tmp_path):
    import_official(*files, tmp_path / "imported", **reference[2])
    return tmp_path / "imported"


def test_what_was_imported_computes_what_the_authors_computed(imported, reference):
    clip, unet, _ = reference
    pipe = load(imported)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (ClipConfig.mean, ClipConfig.std))
    with torch.no_grad():
        content, degradation = pipe.daclip.encode_image(clip["image"] * std + mean)
        conditions = pipe.restorer.prepare(unet["image_context"], unet["degradation_context"])
        restored = pipe.restorer(unet["xt"], unet["mu"], unet["t"], conditions)
    torch.testing.assert_close(content, clip["image_features"], atol=1e-5, rtol=0)
    torch.testing.assert_close(degradation, clip["image_degra_features"], atol=1e-5, rtol=0)
    torch.testing.assert_close(restored, unet["output"], atol=1e-4, rtol=0)


def test_the_restorer_is_told_features_at_their_own_lengths(imported, photo, monkeypatch):
    """The authors' test.py hands on what the controlled CLIP says as it is; only its losses look at directions."""
    pipe, told = load(imported), []
    prepare = pipe.restorer.prepare
    monkeypatch.setattr(pipe.restorer, "prepare", lambda *e: told.append(e) or prepare(*e))
    with torch.no_grad():
        seen = views(photo, pipe.settings.clip.image_size, "resize")
        wanted = pipe.daclip.encode_image(seen, normalize=False)
    own = pipe.encode([photo])
    for embeddings in (None, own):
        list(pipe.trajectory(photo[None], steps=1, embeddings=embeddings))
    for kind in range(2):
        assert abs(wanted[kind].norm() - 1) > 0.1
        for each in told:
            torch.testing.assert_close(each[kind], wanted[kind], atol=1e-4, rtol=0)
    other = own.degradation[0].flip(0)
    pipe.restore(photo, steps=1, degradation=other)
    longer = other[None] * wanted.degradation.norm()
    torch.testing.assert_close(told[-1][1], longer, atol=1e-4, rtol=0)


def test_the_restorer_may_be_absent(files, reference, tmp_path):
    import_official(files[0], None, tmp_path / "without", **reference[2])
    assert load(tmp_path / "without").restorer is None


def test_the_two_files_load_directly_where_they_have_the_released_size(files):
    message = refusal(
        load, files[0], restorer=files[1]
    )  # taken for a ViT-B-32, which this toy is not
    assert "daclip.pt does not match the model: missing clip.visual" in message
    assert "restorer.pth" in refusal(load, files[1])
    assert "does not exist" in refusal(load, "nothing.pt", restorer=files[1])


def test_weights_without_words_embed_but_do_not_name(pipe, photo):
    wild = Pipeline(replace(pipe.settings, labels=()), daclip=pipe.daclip)
    assert wild.encode([photo]).content.shape == (1, 32)
    assert "no labels" in refusal(wild.classify, photo)


@pytest.mark.parametrize(
    "content",
    [
        {"module.w.bias": torch.ones(1)},
        {"module._orig_mod.w.bias": torch.ones(1)},
        {"w._orig_mod.bias": torch.ones(1)},
        {"params": {"w.bias": torch.ones(1)}},
        {"params": {"w.bias": torch.zeros(1)}, "params_ema": {"w.bias": torch.ones(1)}},
        {"epoch": 1, "state_dict": {"module.w.bias": torch.ones(1)}},
    ],
)
def test_wrapped_checkpoints_are_read(tmp_path, content):
    """As data parallelism, torch.compile, BasicSR and open_clip write them."""
    torch.save(content, tmp_path / "c.pt")
    assert read_checkpoint(tmp_path / "c.pt") == {"w.bias": torch.ones(1)}


# ---- what is refused ----


def change(path, edit):
    """Edit the tensors of a file in place."""
    content = torch.load(path, weights_only=True)
    edit(content.get("state_dict", content))
    torch.save(content, path)


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_missing_unexpected_or_misshapen_is_listed(files, reference, tmp_path, which):
    name = ("visual_control.ln_post.weight", "mid_attn.fn.norm.g")[which]
    other = ("clip.ln_final.bias", "final_conv.bias")[which]

    def edit(tensors):
        del tensors[name]
        tensors[other] = torch.zeros(7)
        tensors["surprise"] = torch.zeros(1)

    change(files[which], edit)
    message = refusal(import_official, *files, tmp_path / "new", **reference[2])
    assert files[which].name in message
    assert f"missing {name}" in message
    assert "unexpected surprise" in message
    assert f"{other} is (7,), wanted" in message
    assert not (tmp_path / "new").exists()


def test_two_image_towers_that_differ_are_refused(files, reference):
    change(files[0], lambda tensors: tensors.update({"visual.proj": tensors["visual.proj"] + 1}))
    message = refusal(read_released, *files, **reference[2])
    assert "two different image towers: see visual.proj" in message


def test_files_that_are_not_tensors_alone_are_refused_unread(files, tmp_path, reference):
    def refused(path):
        return refusal(read_released, path, files[1], **reference[2])

    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"state_dict": {"logit_scale": Trap()}}, tmp_path / "trap.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    (tmp_path / "text.pt").write_text("weights")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save({"state_dict": {"lr": 0.1}}, tmp_path / "numbers.pt")
    for name, what in (("trap", "getattr"), ("old", "getattr"), ("text", "incomplete")):
        message = refused(tmp_path / f"{name}.pt")
        assert what in message
        assert message.endswith("(weights_only=True)")
    for name in ("tensor.pt", "numbers.pt"):
        assert "no state dict" in refused(tmp_path / name)
    assert not (tmp_path / "sprung").exists()
    assert "does not exist" in refused(tmp_path / "absent.pt")


def test_a_folder_that_holds_weights_is_not_overwritten(files, imported, reference):
    assert "name a new folder" in refusal(import_official, *files, imported, **reference[2])


def test_halves_stay_halves_on_disk(files, reference, tmp_path):
    def halve(tensors):
        tensors.update({name: tensor.half() for name, tensor in tensors.items()})

    change(files[0], halve)
    import_official(*files, tmp_path / "half", **reference[2])
    stored = read_tensors(tmp_path / "half" / "clip.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert load(tmp_path / "half").clip.visual.proj.dtype == torch.float32


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [("clip", "mean", [0.5] * 3), ("clip", "std", [0.5] * 3), (None, "view", "both")],
)
def test_other_preprocessing_than_the_authors_is_refused(imported, where, name, value):
    file = imported / "pipeline.json"
    settings = json.loads(file.read_text())
    (settings[where] if where else settings)[name] = value
    file.write_text(json.dumps(settings))
    message = refusal(load, imported)
    assert str(file) in message
    assert f"{name} is" in message and "trained with" in message


def test_another_size_of_the_image_does_not_fit_the_weights(imported):
    file = imported / "pipeline.json"
    settings = json.loads(file.read_text())
    settings["clip"]["vision"]["image_size"] = 64
    file.write_text(json.dumps(settings))
    assert "positional_embedding" in refusal(load, imported)
