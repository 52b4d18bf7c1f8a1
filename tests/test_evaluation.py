"""An evaluation is the same at every run, goes on where it was interrupted, and its aims say what the rows say."""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from daclip_lab.data.captions.attributes import caption
from daclip_lab.data.image_io import save_image
from daclip_lab.data.photos import image_folder
from daclip_lab.data.prompts import held_out_texts
from daclip_lab.degradations.registry import DEGRADATIONS, LABELS
from daclip_lab.errors import InputError
from daclip_lab.evaluation import evaluation, evaluator
from daclip_lab.evaluation.evaluation import Evaluation, evaluate
from daclip_lab.evaluation.evaluator import configured, restored
from daclip_lab.evaluation.protocol import Protocol, clean_crops, degraded_crops, mixed_crops
from daclip_lab.evaluation.sweep import compare
from daclip_lab.evaluation.sweep import text as compared
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.models.daclip import Embeddings
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.pipeline import Pipeline

PROTOCOL = Protocol(crop=32, steps=1)
MEASURES = ("accuracy", "clip_accuracy", "cosine", "retrieval", "psnr_input", "psnr", "ssim", "gms")


@pytest.fixture(scope="module", autouse=True)
def no_networks(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


@pytest.fixture(scope="module")
def photos(photo_folder):
    return image_folder(photo_folder)


class PerfectPipeline:
    """A pipeline with the right result for every image of a protocol; CLIP alone always classifies as "hazy".

    An embedding has a dimension for each label, then one for each caption.
    """

    device, fingerprint = torch.device("cpu"), "perfect"

    def __init__(self, settings, photos, protocol):
        self.settings = dataclasses.replace(settings, network=None)  # its restorer has no windows
        self.restorer = nn.Identity()
        self.require_daclip = nn.Identity
        self.restored, self.truth = [], {}
        crops = [crop for k in range(len(photos)) for crop in clean_crops(photos, k, protocol)]
        self.captions = sorted({caption(crop) for crop in crops})
        self.basis = torch.eye(len(LABELS) + len(self.captions))
        self.word_embeddings = self.basis[: len(LABELS)]
        for index in range(len(photos)):
            for clean, images, facts in (
                degraded_crops(photos, index, protocol),
                mixed_crops(photos, index, protocol),
            ):
                for c, image, fact in zip(clean, images, facts, strict=True):
                    done = [fact[k] for k in ("degradation", "first", "second") if k in fact]
                    self.truth[image.numpy().tobytes()] = c, [LABELS.index(name) for name in done]

    def encode_text(self, texts):
        names = {text: LABELS.index(name) for name in DEGRADATIONS for text in held_out_texts(name)}
        places = {text: len(LABELS) + k for k, text in enumerate(self.captions)}
        return self.basis[[(names | places)[text] for text in texts]]

    def encode_all(self, images):
        truth = [self.truth[image.numpy().tobytes()] for image in images]
        content = self.encode_clip([clean for clean, _ in truth])
        degradation = torch.stack([self.basis[done].sum(0) for _, done in truth])
        return [content, degradation, self.basis[[DEGRADATIONS.index("hazy")] * len(images)]]

    def encode_clip(self, images):
        return self.encode_text([caption(image) for image in images])

    def logits(self, degradation):
        return 10 * degradation @ self.word_embeddings.T

    def probabilities(self, degradation):
        return self.logits(degradation).softmax(1)

    def restore(self, images, *, steps, sampler, seed, **options):
        self.restored.append((steps, sampler, seed))
        return [self.truth[image.numpy().tobytes()][0] for image in images]


@pytest.fixture(scope="module")
def perfect(weights, photos):
    pipe = PerfectPipeline(load(weights).settings, photos, PROTOCOL)
    return evaluate(pipe, photos, PROTOCOL), pipe


# ---- a perfect pipeline, and one that guesses ----


def test_a_perfect_pipeline_gets_perfect_marks(perfect):
    result, pipe = perfect
    table = result.table()
    for measure in ("accuracy", "cosine", "retrieval"):
        assert table[measure].to_numpy() == pytest.approx(1), measure
    assert table.held_out_accuracy[:-1].to_numpy() == pytest.approx(1)
    assert table.psnr.to_numpy() == pytest.approx(60)
    assert table.ssim.to_numpy() == pytest.approx(1, abs=1e-5)
    assert table.gms.to_numpy() == pytest.approx(1, abs=1e-5)
    assert (table.psnr_input < 59).all()
    assert table.loc["overall", "clip_accuracy"] == pytest.approx(0.1)
    assert table.loc["hazy", "clip_accuracy"] == 1
    assert table.loc["overall", "clip_retrieval"] == 0.5  # of two captions
    assert table.loc["overall", "false_clean"] == 0
    assert np.array_equal(result.confusion().to_numpy(), np.eye(10))
    # A batch for each photo, with the seed of the protocol for each image.
    assert pipe.restored == [(1, "posterior", [0] * (11 + 2))] * 2


def test_a_perfect_pipeline_reaches_every_target(perfect):
    result, _ = perfect
    whole = Evaluation(
        dataclasses.replace(result.protocol, crop=None), result.rows, result.mixtures
    )
    for targets in (result.summary(), whole.summary()):
        with_target = targets[targets.target != ""]
        assert with_target.met.all(), with_target
    assert set(whole.summary().index) == set(result.summary().index)
    assert "gain in PSNR (dB)" in whole.summary().query("target != ''").index
    assert result.summary().loc["gap of that cosine to 1 that is closed (%)", "value"] == 100
    assert result.summary().loc["clean called clean (%)", "clip"] == 0


def guessed(photos=300):
    """The rows of a pipeline that guesses evenly, and says how sure it is."""
    rng = np.random.default_rng(1)
    names = np.array(DEGRADATIONS)
    rows = pd.DataFrame(
        {
            "photo": np.repeat([f"p{k}" for k in range(photos)], 11),
            "crop": 0,
            "degradation": np.tile(LABELS, photos),
            "probability": 1 / 11,
            "probability_uncalibrated": 0.9,
            "cosine": 0.6,
            "clip_cosine": 0.2,
        }
    )
    for column in ("predicted_degradation", "clip_predicted_degradation", "held_out_predicted"):
        rows[column] = rng.choice(names, len(rows))
    for column in ("predicted", "clip_predicted"):
        rows[column] = rng.choice(np.array(LABELS), len(rows))
    for column, share in (("retrieved", 0.5), ("clip_retrieved", 0.25), ("clean_retrieved", 0.8)):
        rows[column] = rng.random(len(rows)) < share
    pairs = [rng.permutation(names)[:2].tolist() for _ in range(photos)]
    mixtures = pd.DataFrame(pairs, columns=["first", "second"]).assign(photo=rows.photo.unique())
    for column in ("top", "clip_top"):
        mixtures[column] = [rng.permutation(names)[:2].tolist() for _ in range(photos)]
    return Evaluation(PROTOCOL, rows, mixtures)


def test_a_guessing_pipeline_is_at_chance():
    result = guessed()
    table, targets = result.table(), result.summary()
    lines = [(table.loc["overall", [m, f"{m}_low", f"{m}_high"]], 0.1)
             for m in ("accuracy", "clip_accuracy", "held_out_accuracy")]  # fmt: skip
    for measure, truth in (
        ("clean called clean (%)", 100 / 11),
        ("misses: degraded called clean (%)", 100 / 11),
        ("both of two degradations in the top two (%)", 100 / 45),
        ("of the R@1 of CLIP on clean images (%)", 100 * 0.5 / 0.8),
        ("gap of that cosine to 1 that is closed (%)", 50),
    ):
        lines.append((targets.loc[measure, ["value", "low", "high"]], truth))
    for (value, low, high), truth in lines:
        # The width of an interval is nearly four standard deviations.
        assert abs(value - truth) <= high - low + 1e-9
        assert high - low < max(0.5 * truth, 8)
    assert not targets.met.dropna().any()
    assert result.calibration_error() < 0.02
    assert result.calibration_error(calibrated=False) > 0.75


def test_the_worst_degradation_is_named():
    result = guessed()
    rainy = result.rows.degradation == "rainy"
    result.rows.loc[~rainy, "predicted_degradation"] = result.rows.degradation
    line = result.summary().loc["ten-way accuracy, worst of the ten (%)"]
    assert line.note == "rainy"
    assert line.value == pytest.approx(
        100 * (result.rows[rainy].predicted_degradation == "rainy").mean()
    )


# ---- tables ----


def test_the_table_has_the_promised_rows_and_columns(perfect):
    table = perfect[0].table()
    assert list(table.index) == [*DEGRADATIONS, "overall", "clean"]
    assert (table.loc[list(DEGRADATIONS), "n"] == 2).all()
    assert table.loc["overall", "n"] == 20
    assert (table.photos == 2).all()
    for measure in MEASURES:
        low, mean, high = (table[measure + end] for end in ("_low", "", "_high"))
        assert (low <= mean + 1e-9).all()
        assert (mean <= high + 1e-9).all()


def test_overall_is_the_mean_over_all_degraded_crops(perfect):
    result, _ = perfect
    rows = result.rows[result.rows.degradation != "clean"]
    assert result.table().loc["overall", "psnr_input"] == pytest.approx(rows.psnr_input.mean())


def test_json_holds_the_tables_and_the_protocol(perfect):
    content = json.loads(json.dumps(perfect[0].to_dict(), allow_nan=False))
    assert content["protocol"]["hash"] == perfect[0].protocol.hash
    assert content["protocol"]["crop"] == 32
    assert set(content["degradations"]) == {*DEGRADATIONS, "overall", "clean"}
    line = content["degradations"]["hazy"]
    wanted = {"n", "photos"} | {m + end for m in MEASURES for end in ("", "_low", "_high")}
    assert wanted <= set(line)
    assert (line["n"], line["photos"]) == (2, 2)
    assert content["targets"]["ten-way accuracy (%)"]["met"] is True


def test_text_and_markdown_say_the_same(perfect):
    result, _ = perfect
    text, markdown = str(result), result.markdown()
    for shown in (text, markdown):
        assert result.protocol.hash in shown
        assert "60.00 [60.00, 60.00]" in shown
        assert "expected calibration error" in shown
        assert "nan" not in shown
        assert "-0.0" not in shown
    assert "LPIPS needs" in text
    for block in markdown.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
    assert "| **overall** |" in markdown


# ---- real pipelines ----


def test_the_tiny_pipeline_is_measured_the_same_at_every_run(pipe, photos):
    state = torch.get_rng_state()
    first, second = (evaluate(pipe, photos, PROTOCOL) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    pd.testing.assert_frame_equal(first.rows, second.rows, check_exact=True)
    pd.testing.assert_frame_equal(first.table(), second.table(), check_exact=True)
    np.testing.assert_allclose(first.confusion().sum(axis=1), 1)
    other = evaluate(pipe, photos, dataclasses.replace(PROTOCOL, seed=1))
    assert not np.array_equal(first.rows.psnr_input, other.rows.psnr_input)


def test_rows_are_what_the_pipeline_answers(pipe, photos):
    """Embedding an image once for all measures changes none of them."""
    protocol = Protocol(crop=None, steps=2, mixtures=0)
    rows = evaluate(pipe, photos, protocol).rows
    clean, degraded, _ = degraded_crops(photos, 0, protocol)
    image = degraded[4]
    answers = pipe.classify(image)
    assert rows.predicted[4] == answers.idxmax()
    assert rows.probability[4] == pytest.approx(answers.max(), abs=1e-5)
    assert rows.predicted_degradation[4] == answers[list(DEGRADATIONS)].idxmax()
    *_, last = pipe.trajectory(image[None], steps=2, seed=0)
    wanted = psnr(last.state.clamp(0, 1), clean[:1]).item()
    assert rows.psnr[4] == pytest.approx(wanted, abs=1e-3)
    for name, measure in evaluator.QUALITY.items():
        wanted = measure(image[None], clean[:1]).item()
        assert rows[f"{name}_input"][4] == pytest.approx(wanted, abs=1e-5), name
    content = pipe.encode([image]).content[0]
    assert rows.cosine[4] == pytest.approx(
        float(content @ pipe.encode_clip([clean[0]])[0]), abs=1e-5
    )


def test_restoration_and_mixtures_can_be_left_out(pipe, photos):
    protocol = dataclasses.replace(PROTOCOL, mixtures=0)
    for result in (
        evaluate(pipe, photos, protocol, restore=False),
        evaluate(Pipeline(pipe.settings, daclip=pipe.daclip), photos, protocol),
    ):
        table = result.table()
        assert "psnr" not in table
        assert {"accuracy", "psnr_input"} <= set(table)
        assert not any("two degradations" in measure for measure in result.summary().index)
        assert result.protocol.hash in str(result)
    with pytest.raises(InputError, match="no controller"):
        evaluate(Pipeline(pipe.settings, clip=pipe.clip), photos, protocol)


def test_photos_of_the_same_name_in_two_folders_are_two_photos(pipe, tmp_path, photo):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_image(photo if name == "a" else 1 - photo, tmp_path / name / "1.png")
    table = evaluate(pipe, image_folder(tmp_path), PROTOCOL, restore=False).table()
    assert table.loc["overall", "photos"] == 2
    assert table.loc["overall", "psnr_input_low"] < table.loc["overall", "psnr_input_high"]


def test_measures_with_networks_join_where_these_are_on_the_machine(
    pipe, photos, monkeypatch, tmp_path
):
    from daclip_lab.metrics import image_quality

    def features(image):
        return image.mean((1, 2)).repeat(evaluator.INCEPTION_DIM)[: evaluator.INCEPTION_DIM]

    monkeypatch.setattr(image_quality, "network", lambda measure, device="cpu": nn.Identity())
    monkeypatch.setattr(
        image_quality, "lpips", lambda images, clean: (images - clean).abs().mean((1, 2, 3))
    )
    monkeypatch.setattr(image_quality, "inception_features", features)
    result = evaluate(pipe, photos, PROTOCOL, out=tmp_path)
    table = result.table()
    assert (table.lpips > 0).all()
    assert (table.fid > 0).all()
    assert table.fid["overall"] == pytest.approx(table.fid[list(DEGRADATIONS)].mean())
    assert result.notes == ()
    clean = torch.stack([features(clean_crops(photos, k, PROTOCOL)[0]) for k in range(2)])
    packed = [evaluator.packed(clean_crops(photos, k, PROTOCOL)) for k in range(2)]
    torch.testing.assert_close(evaluator.unpacked(packed), clean, atol=1e-3, rtol=1e-3)
    assert str(result) == str(evaluate(pipe, photos, PROTOCOL, out=tmp_path))
    assert "FID" in result.markdown()


# ---- interrupted and resumed ----


def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(pipe, photos, tmp_path, monkeypatch):
    whole = evaluate(pipe, photos, PROTOCOL, out=tmp_path / "whole")
    (kept,) = (tmp_path / "whole").iterdir()
    assert kept.name == f"{whole.protocol.hash}.jsonl"
    plain = evaluator.Evaluator.__call__

    def interrupted(self, index):
        if index:
            raise KeyboardInterrupt
        return plain(self, index)

    monkeypatch.setattr(evaluator.Evaluator, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(pipe, photos, PROTOCOL, out=tmp_path / "parts")
    monkeypatch.setattr(evaluator.Evaluator, "__call__", plain)
    part = tmp_path / "parts" / kept.name
    with part.open("a") as file:
        file.write('{"rows": [{"photo": "fa')  # the machine stopped in the middle of a line
    again = evaluate(pipe, photos, PROTOCOL, out=tmp_path / "parts")
    assert part.read_bytes() == kept.read_bytes()
    assert str(again) == str(whole) == str(evaluate(pipe, photos, PROTOCOL))


def test_a_finished_evaluation_is_read_and_others_are_refused(pipe, photos, tmp_path, monkeypatch):
    first = evaluate(pipe, photos, PROTOCOL, restore=False, out=tmp_path)
    monkeypatch.setattr(evaluation, "Evaluator", None)
    again = evaluate(pipe, photos, PROTOCOL, restore=False, out=tmp_path)
    pd.testing.assert_frame_equal(first.rows, again.rows)
    (file,) = tmp_path.iterdir()
    with pytest.raises(InputError, match=f"{file.name} .* measures"):
        evaluate(pipe, photos, PROTOCOL, out=tmp_path)
    pipe.settings = dataclasses.replace(pipe.settings, temperature=2.0)
    with pytest.raises(InputError, match="weights"):
        evaluate(pipe, photos, PROTOCOL, restore=False, out=tmp_path)
    file.write_text("no JSON\n")
    with pytest.raises(InputError, match="holds no results"):
        evaluate(pipe, photos, PROTOCOL, restore=False, out=tmp_path)


def test_photos_are_known_by_their_content(pipe, tmp_path, photo):
    """Two folders with equal file names and other photos do not share results; a copy of a folder does."""
    for name, image in (("a", photo), ("b", 1 - photo), ("copy", photo)):
        (tmp_path / name).mkdir()
        save_image(image, tmp_path / name / "p0.png")
    call = {"protocol": PROTOCOL, "restore": False, "out": tmp_path / "out"}
    first = evaluate(pipe, image_folder(tmp_path / "a"), **call)
    with pytest.raises(InputError, match="photos"):
        evaluate(pipe, image_folder(tmp_path / "b"), **call)
    again = evaluate(pipe, image_folder(tmp_path / "copy"), **call)
    pd.testing.assert_frame_equal(first.rows, again.rows)


def test_the_degradations_are_those_of_the_weights(pipe, photos):
    settings = dataclasses.replace(pipe.settings, labels=("rainy", "hazy", "clean"))
    few = Pipeline(settings, daclip=pipe.daclip)
    result = evaluate(few, photos, dataclasses.replace(PROTOCOL, mixtures=0))
    assert list(result.table().index) == ["hazy", "rainy", "overall", "clean"]
    assert list(result.confusion()) == ["hazy", "rainy"]
    assert "rainy" in str(result) and "noisy" not in str(result)
    with pytest.raises(InputError, match="noisy"):
        evaluate(few, photos, dataclasses.replace(PROTOCOL, degradations=("noisy",)))
    unknown = Pipeline(dataclasses.replace(settings, labels=("foggy", "hazy")), daclip=pipe.daclip)
    with pytest.raises(InputError, match="foggy"):
        evaluate(unknown, photos, PROTOCOL)


# ---- views, windows, steps ----


def test_windows_and_views_leave_the_pipeline_as_it_was(pipe, photos):
    """Another window changes the result, one larger than the image does not."""
    _, degraded, _ = degraded_crops(photos, 0, Protocol(crop=None, mixtures=0))
    image, before = degraded[:1], copy.deepcopy(pipe.restorer.state_dict())
    own = pipe.restore(image, output_type="pt")[0]
    small, large = (
        configured(pipe, window=window).restore(image, output_type="pt")[0] for window in (32, 1000)
    )
    assert not torch.equal(small, own) and torch.equal(large, own)
    patch = image[..., :32, :32]  # as large as the patches that it was trained on
    both = [configured(pipe, window=w).restore(patch, output_type="pt")[0] for w in (32, 1000)]
    assert torch.equal(*both)
    assert torch.equal(pipe.restore(image, output_type="pt")[0], own)
    torch.testing.assert_close(pipe.restorer.state_dict(), before, rtol=0, atol=0)
    shared = configured(pipe, window=32).restorer.parameters()
    assert all(a is b for a, b in zip(shared, pipe.restorer.parameters(), strict=True))
    with pytest.raises(InputError, match="window=64"):
        configured(
            Pipeline(pipe.settings, daclip=pipe.daclip, restorer=nn.Conv2d(3, 3, 3)), window=64
        )

    seen = configured(pipe, view="resize").encode([photos[0]]).degradation
    assert pipe.settings.view == "both"
    assert not torch.allclose(seen, pipe.encode([photos[0]]).degradation, atol=1e-4)
    protocol = Protocol(crop=None, mixtures=0, view="resize")
    rows = evaluate(pipe, photos, protocol, restore=False).rows
    both = evaluate(pipe, photos, dataclasses.replace(protocol, view="both"), restore=False).rows
    assert not np.allclose(rows.cosine, both.cosine)
    assert np.array_equal(rows.psnr_input, both.psnr_input)


def test_settings_are_compared_image_by_image(perfect):
    result, _ = perfect
    worse = Evaluation(
        result.protocol, result.rows.assign(psnr=result.rows.psnr - 3), result.mixtures
    )
    table = compare({"steps 1": result, "steps 2": worse})
    assert table.loc["steps 2", "psnr"] == pytest.approx(57)
    for bound in ("", "_low", "_high"):
        assert table.loc["steps 2", f"psnr_gain{bound}"] == pytest.approx(-3)
        assert table.loc["steps 1", f"psnr_gain{bound}"] == 0
    assert "against steps 1" in compared(table)
    assert compared(table, markdown=True).startswith("|")
    without = Evaluation(result.protocol, result.rows.drop(columns="ms_ssim"), result.mixtures)
    assert "ms_ssim_gain" not in compare({"a": without, "b": result})
    other = Evaluation(result.protocol, result.rows.assign(severity=0.5), result.mixtures)
    with pytest.raises(InputError, match="other images"):
        compare({"a": result, "b": other})


@pytest.mark.parametrize("bf16", [False, True])
def test_results_do_not_depend_on_the_batch(pipe, photos, monkeypatch, bf16):
    """Restored one by one or side by side: the same images within rounding, each by its own embeddings."""
    monkeypatch.setattr("daclip_lab.pipeline.restoration.has_bf16", lambda device: bf16)
    protocol = dataclasses.replace(PROTOCOL, steps=3)
    together = evaluate(pipe, photos, protocol)
    monkeypatch.setattr("daclip_lab.pipeline.restoration.BATCH_PIXELS", 1)
    monkeypatch.setattr(evaluator, "BATCH", 1)
    alone = evaluate(pipe, photos, protocol)
    bound = 0.05 if bf16 else 1e-4  # dB
    for name in ("rows", "mixtures"):
        a, b = getattr(together, name).psnr, getattr(alone, name).psnr
        np.testing.assert_allclose(a, b, atol=bound)
        assert a.std() > 10 * bound


def test_images_are_conditioned_on_their_own_embeddings(pipe, photos, monkeypatch):
    monkeypatch.setattr("daclip_lab.pipeline.restoration.has_bf16", lambda device: False)
    protocol = PROTOCOL.resolve(pipe.settings)
    images = degraded_crops(photos, 0, protocol)[1][:3]
    own = pipe.encode(images)
    both = restored(pipe, images, own, protocol)
    last = restored(pipe, images[2:], Embeddings(*(e[2:] for e in own)), protocol)
    torch.testing.assert_close(both[2:], last, atol=1e-6, rtol=0)
    # Untrained, the network embeds all images alike: the opposite embeddings differ more than those of another image.
    others = restored(pipe, images, Embeddings(*(-e for e in own)), protocol)
    assert (others - both).abs().max() > 1e-5


# ---- the command ----


def test_the_command_compares_prints_markdown_and_refuses(capsys, photo_folder, weights, tmp_path):
    from daclip_lab.cli import main

    run = ["evaluate", "--data", str(photo_folder), "--weights", str(weights), "--crops", "1"]
    run += ["--limit", "1", "--out", str(tmp_path)]
    assert main([*run, "--steps", "1", "2"]) == 0
    text = capsys.readouterr().out
    assert "steps 1" in text
    assert "against steps 1" in text
    assert main([*run, "--steps", "2", "--markdown"]) == 0  # read, not measured again
    assert "| **overall** |" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 2
    for options, value in (
        (("--steps", "1", "2", "--view", "crops", "resize"), "--view"),
        (("--limit", "0"), "--limit 0"),
        (("--view", "all"), "'all' is unknown"),
        (("--window", "0"), "window=0"),
        (("--protocol", "paper"), "--limit"),
    ):
        assert main([*run, *options]) == 2
        assert value in capsys.readouterr().err
