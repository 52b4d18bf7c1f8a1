"""`train all`: the four trainings in turn, by a plan that is stored; interrupted or not, the same bytes."""

import json
import os
import signal
from contextlib import closing
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest

import daclip_lab
from daclip_lab.cli import main
from daclip_lab.commands.training import parts as train_parts
from daclip_lab.commands.training import plan as plans
from daclip_lab.commands.training import stages
from daclip_lab.commands.training.plan import SHARES, Speed
from daclip_lab.commands.training_data import PARTS, described, labels_of, source_of
from daclip_lab.data.image_io import save_image
from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json

STEPS = "clip=3,words=3,daclip=3,restorer=3,calibration=1"


@pytest.fixture(scope="module")
def photos(tmp_path_factory, photo):
    """Ten photos, of which one is held out."""
    folder = tmp_path_factory.mktemp("ten")
    for number in range(10):
        save_image(photo.roll(8 * number, -1), folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def common(photos):
    """The command without --steps and --out."""
    return ["train", "all", "--scale", "smoke", "--data", str(photos), "--workers", "0"]


@pytest.fixture(scope="module")
def whole(common, tmp_path_factory):
    """The folder of an uninterrupted run."""
    run = tmp_path_factory.mktemp("run") / "whole"
    assert main([*common, "--steps", STEPS, "--out", str(run)]) == 0
    return run


def contents(run):
    """The bytes of all files of a run but its logs, in which an interruption may repeat a line."""
    files = (path for path in run.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def weights(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


# ---- what is trained ----


def test_a_run_holds_what_the_four_trainings_make_in_turn(whole, photos, tmp_path):
    before = []
    for part in ("clip", "words", "daclip", "restorer"):
        call = ["train", part, "--scale", "smoke", "--data", str(photos), "--workers", "0"]
        out = tmp_path / part
        assert main([*call, *before, "--seed", "0", "--steps", "3", "--out", str(out)]) == 0
        before = ["--weights", str(out)]
        assert weights(out) == weights(whole / part)
    made = weights(out)
    del made["state.safetensors"]
    assert made == weights(whole)


def test_a_run_classifies_and_restores_and_is_calibrated(whole, photo_folder):
    pipe = daclip_lab.load(whole)
    assert pipe.classify(photo_folder / "face.png").shape == (11,)
    assert pipe.restore(photo_folder / "face.png", steps=1).size == (80, 72)
    assert pipe.settings.temperature != 1
    assert daclip_lab.load(whole / "restorer").settings.temperature == 1


def test_from_given_weights_clip_is_kept_unless_it_is_asked_for(whole, common, tmp_path):
    further = [*common, "--start", str(whole), "--out"]
    kept, trained = tmp_path / "kept", tmp_path / "trained"
    assert main([*further, str(kept), "--steps", "daclip=1,restorer=1"]) == 0
    assert main([*further, str(trained), "--steps", "clip=1,daclip=1,restorer=1"]) == 0
    first, same, other = map(weights, (whole, kept, trained))
    assert same["clip.safetensors"] == first["clip.safetensors"] != other["clip.safetensors"]
    for part in ("controller.safetensors", "restorer.safetensors"):
        assert same[part] != first[part]
    assert not (kept / "clip").exists() and not (trained / "words").exists()


# ---- interruptions ----


def interrupt(monkeypatch, stage):
    """Send SIGTERM after the second step of a stage, or interrupt the calibration."""
    if stage == "calibration":

        def calibrate(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(stages, "calibrate", calibrate)
        return
    plain = train_parts.TRAININGS[stage]

    def training(*arguments):
        made = plain(*arguments)

        def steps():
            with closing(made.steps) as inner:
                for step in inner:
                    if step.index == 2:
                        os.kill(os.getpid(), signal.SIGTERM)
                    yield step

        return made._replace(steps=steps())

    monkeypatch.setitem(train_parts.TRAININGS, stage, training)


@pytest.mark.parametrize("stage", SHARES)
def test_an_interrupted_run_goes_on_exactly(whole, common, tmp_path, monkeypatch, stage):
    call = [*common, "--steps", STEPS, "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        interrupt(patched, stage)
        assert main(call) == 130
    before = contents(tmp_path / "run")
    assert f"{stage}/pipeline.json" not in before
    if stage != "clip":  # as soon as one stage is finished
        assert daclip_lab.load(tmp_path / "run").clip is not None
    with monkeypatch.context() as patched:
        # What is finished is not repeated.
        for finished in list(SHARES)[: list(SHARES).index(stage)]:
            patched.delitem(train_parts.TRAININGS, finished)
        assert main([*call, "--resume"]) == 0
    assert contents(tmp_path / "run") == contents(whole)


def test_a_finished_run_is_resumed_in_vain_and_mends_its_weights(whole, common):
    before = contents(whole)
    (whole / "restorer.safetensors").unlink()
    assert main([*common, "--steps", STEPS, "--out", str(whole), "--resume"]) == 0
    assert contents(whole) == before


# ---- the plan ----


def test_the_speed_is_measured_once(common, tmp_path, monkeypatch):
    measured = []

    def measure(steps, seconds):
        measured.append(seconds)
        return Speed(0.5, 1.0)

    monkeypatch.setattr(plans, "measure", measure)
    # Each look at the clock takes a second.
    monkeypatch.setattr(stages.time, "perf_counter", partial(next, count()))
    interrupt(monkeypatch, "clip")
    call = [*common, "--minutes", "0.4", "--out", str(tmp_path / "run")]
    assert main(call) == 130 and len(measured) == 4
    plan = read_json(tmp_path / "run" / "plan.json")
    assert plan["minutes"] == 0.4 and plan["steps"] == {
        "clip": 2,
        "words": 1,
        "daclip": 6,
        "restorer": 9,
        "calibration": 1,
    }
    monkeypatch.undo()
    monkeypatch.setattr(plans, "measure", None)
    assert main([*call, "--resume"]) == 0
    recipes = {
        part: read_json(tmp_path / "run" / part / "recipe.json") for part in ("clip", "words")
    }
    assert {part: recipe["steps"] for part, recipe in recipes.items()}.items() <= plan[
        "steps"
    ].items()


def test_steps_fill_the_time_by_their_shares():
    speeds = {"clip": Speed(2.0, 0.1), "restorer": Speed(0.0, 3.0), "words": Speed(50.0, 1.0)}
    shares = {"clip": 1, "words": 0, "daclip": 0, "restorer": 3, "calibration": 0}
    steps = plans.steps_in(100, shares, speeds | {"words": Speed(50.0, 1.0)})
    assert steps == {"clip": 230, "words": 1, "daclip": 0, "restorer": 25, "calibration": 0}


def test_the_first_steps_do_not_count_for_the_speed(monkeypatch):
    now, closed = [0.0], []

    def steps():
        try:
            for index in range(1, 1000):
                now[0] += 10.0 if index <= plans.WARM else 0.5
                yield SimpleNamespace(index=index, loss=0.0)
        finally:
            closed.append(index)

    monkeypatch.setattr(plans.time, "perf_counter", lambda: now[0])
    speed = plans.measure(steps(), 4.0)
    assert speed == Speed(20.0, 0.5)
    assert closed == [plans.WARM + 8]


def test_numbers_of_stages():
    assert plans.numbers("clip=13, words=0", "--shares") == {"clip": 13, "words": 0}
    for text in ("", "clip", "clip=x", "clip=-1", "clip=1.5", "sky=3", "clip=1,clip=2"):
        with pytest.raises(InputError, match="--steps"):
            plans.numbers(text, "--steps")


def test_refused_runs(whole, common, tmp_path, capsys):
    def refused(*options, out="new"):
        before = contents(whole)
        assert main([*common, *map(str, options), "--out", str(tmp_path / out)]) == 2
        assert contents(whole) == before
        assert not (tmp_path / "new").exists()
        return capsys.readouterr().err

    own = ("--steps", STEPS)
    assert "--resume" in refused(*own, out=whole)
    assert "seed=0 there and 1 here" in refused(*own, "--seed", 1, "--resume", out=whole)
    assert "minutes=null there" in refused("--minutes", 3, "--resume", out=whole)
    other = refused("--steps", STEPS.replace("clip=3", "clip=4"), "--resume", out=whole)
    assert '"clip": 3' in other and '"clip": 4' in other
    assert "plan.json does not exist" in refused(*own, "--resume")
    assert "--resume" in refused(*own, out=whole / "daclip")
    assert "daclip=NUMBER" in refused("--steps", "clip=1,restorer=1")
    assert "clip=NUMBER" in refused("--minutes", 1, "--shares", "clip=0")
    assert "'sky=1'" in refused("--steps", "sky=1")
    assert "--minutes 0" in refused("--minutes", 0)
    assert "--seed -1" in refused(*own, "--seed", -1)
    assert "pretrained" in refused(*own, "--scale", "paper")
    assert "wanted a controller" in refused(*own, "--start", whole / "words")
    assert "no such folder" in refused(*own, "--data", tmp_path / "none")


def test_either_minutes_or_steps_are_wanted(common):
    for options in ([], ["--minutes", "1", "--steps", STEPS]):
        with pytest.raises(SystemExit) as ended:
            main([*common, "--out", "run", *options])
        assert ended.value.code == 2


def test_a_broken_plan_is_refused(whole, common, tmp_path, capsys):
    for content in ({}, {**read_json(whole / "plan.json"), "speed": 1}):
        (tmp_path / "plan.json").write_text(json.dumps(content))
        assert main([*common, "--steps", STEPS, "--out", str(tmp_path), "--resume"]) == 2
        assert "plan.json lacks a field" in capsys.readouterr().err


# ---- real pairs ----


def test_real_pairs_are_mixed_into_controller_and_restorer_alone(photos, photo, tmp_path, scale):
    for kind in ("LQ", "GT"):
        (tmp_path / "hazy" / kind).mkdir(parents=True)
        save_image(photo, tmp_path / "hazy" / kind / "1.png")
    sources = {part: source_of([str(photos)], scale, part, pairs=str(tmp_path)) for part in PARTS}
    for part in ("daclip", "restorer"):
        assert [pair.label for pair in sources[part].pairs] == ["hazy"]
        assert labels_of(sources[part]) == daclip_lab.LABELS
    assert "1 real pairs" in described(sources["daclip"])
    assert not any(hasattr(sources[part], "pairs") for part in ("clip", "words"))
    (tmp_path / "hazy").rename(tmp_path / "foggy")
    with pytest.raises(InputError, match="is 'foggy': wanted one of"):
        source_of([str(photos)], scale, pairs=str(tmp_path))
