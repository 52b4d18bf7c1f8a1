"""The study engine: the same numbers however a study is run, interrupted and resumed; nothing is run twice."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from counting import STUDY, Counting, Inner

from daclip_lab.ablation import engine
from daclip_lab.ablation.background import StudyRunner
from daclip_lab.ablation.engine import run_study
from daclip_lab.ablation.execution.code_hash import code_hash, normalized, own_code_hash
from daclip_lab.ablation.execution.encoding import classes, decode, encode
from daclip_lab.ablation.execution.job import Event
from daclip_lab.ablation.execution.lock import locked
from daclip_lab.ablation.execution.progress import Tracker
from daclip_lab.ablation.execution.store import CROP_BYTES, checked, write_crop
from daclip_lab.ablation.results import COLUMNS, StudyResults
from daclip_lab.ablation.study import Measurements, Variant
from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError
from daclip_lab.models import restorer


@pytest.fixture
def options(weights, photo_folder):
    """What a run needs: tiny weights, one photo to train on, one to test on."""
    code_hash.cache_clear()
    photos = [Photos([photo_folder / f"{name}.png"]) for name in ("face", "cup")]
    return {
        "weights": weights,
        "train": photos[0],
        "test": photos[1],
        "device": "cpu",
        "parallel": 0,
    }


@pytest.fixture
def done(options, tmp_path):
    """A function that runs a study to its end and gives its results; the study's folder is `out`."""

    def run(study=STUDY, out=tmp_path / "out", **others):
        *_, last = run_study(study, out, **options | others)
        assert last.finished == last.total and not last.running and last.seconds_left == 0
        return StudyResults.read(out)

    return run


def steps(folder):
    """Each step that was done below a results folder, as (gain, seed, step)."""
    lines = (folder / "cache" / "data" / "steps.txt").read_text().splitlines()
    return [tuple(map(float, line.split()[1:])) for line in lines]


# ---- results ----


def test_results_are_one_tidy_table(done):
    results = done()
    table = results.table
    assert tuple(table) == COLUMNS and len(table) == 3 * 2 * 2
    assert results.variants == ["one", "two", "three"] and results.seeds == [0, 1]
    assert results.metrics == ["gain at 64 px"] and table.value.dtype == "float32"
    value = table[(table.variant == "two") & (table.seed == 1) & (table.image == "cup hazy")].value
    assert value.item() == pytest.approx(2 * (1 / 2 + 1 / 3 + 1 / 4) + 4)
    csv = pd.read_csv(results.folder / "results.csv")
    pd.testing.assert_frame_equal(csv, table, check_dtype=False, check_categorical=False)


def test_the_description_says_what_was_run(done, weights):
    info = done(command="daclip-lab ablate counting").info
    assert info["question"] == "Does it count?" and info["baseline"] == "one"
    assert info["variants"][1] == {
        "name": "two", "about": "twice as much", "change": {"inner.gain": 2.0}
    }  # fmt: skip
    assert info["photos"]["test"]["names"] == ["cup"] and info["photos"]["train"]["count"] == 1
    assert info["command"] == "daclip-lab ablate counting" and info["code"] == code_hash()
    assert set(info["seconds"]["runs"]) == {"one", "two", "three"}
    assert info["machine"]["cores"] >= 1 and torch.__version__.startswith(info["versions"]["torch"])
    again = done(command="another").info
    assert again == info  # it did nothing


def test_runs_go_seed_by_seed(done):
    done()
    assert [k for _, k, _ in steps(done().folder)] == [0] * 9 + [1] * 9


# ---- the cache ----


def test_nothing_is_run_twice(done):
    folder = done().folder
    before = steps(folder)
    renamed = replace(
        STUDY, variants=(Variant(name="first"), *STUDY.variants[1:]), baseline="first"
    )
    assert done(renamed).variants == ["first", "two", "three"]
    assert steps(folder) == before
    more = done(STUDY.with_variants(Variant(name="four", change={"inner.gain": 4.0})))
    assert more.variants == ["one", "two", "three", "four"]
    assert {gain for gain, *_ in steps(folder)[len(before) :]} == {4.0}


def test_variants_of_the_same_trial_share_a_run(done):
    results = done(STUDY.with_variants(Variant(name="also two", change={"inner": Inner(gain=2.0)})))
    two, also = (results.table[results.table.variant == name].value for name in ("two", "also two"))
    assert two.tolist() == also.tolist() and len(steps(results.folder)) == 2 * 3 * 3


@pytest.mark.parametrize("changed", ["trial", "photos", "weights", "code"])
def test_a_run_depends_on_all_that_decides_it(changed, done, photo_folder, tmp_path, monkeypatch):
    folder = done(seeds=1).folder
    study, others = STUDY, {}
    if changed == "trial":
        study = replace(STUDY, trial=Counting(steps=2))
    elif changed == "photos":
        (tmp_path / "cup.png").write_bytes((photo_folder / "cup.png").read_bytes() + b"\0")
        others["test"] = Photos([tmp_path / "cup.png"])
    elif changed == "weights":
        others["weights"] = "lab"
    else:
        monkeypatch.setattr("daclip_lab.ablation.execution.code_hash.PARTS", ("files",))
        code_hash.cache_clear()
    before = len(steps(folder))
    done(study, seeds=1, **others)
    code_hash.cache_clear()
    assert len(steps(folder)) == before + 3 * study.trial.steps


def test_wording_and_layout_are_no_change_of_code():
    first = 'def f(x):\n    """Adds."""\n    return x + 1  # one\n'
    assert normalized(first) == normalized("def f(x):\n    'Adds one.'\n\n    return (x + 1)")
    assert normalized(first) != normalized(first.replace("1", "2"))


def test_code_of_ones_own_counts(monkeypatch):
    def first(**_):
        return torch.nn.Linear(1, 2)

    def second(**_):
        return torch.nn.Linear(1, 3)

    first.__module__ = second.__module__ = "__main__"  # as in a notebook
    importlib.import_module("two_processes")
    trial = Counting(options={"kind": "mine"})
    found = set()
    for factory in (first, second):
        monkeypatch.setitem(restorer._factories, "mine", factory)
        found.add(own_code_hash(trial, ()))
    assert len(found) == 2
    assert own_code_hash(Counting(), ()) not in found
    assert own_code_hash(Counting(), ("two_processes",)) != own_code_hash(encode(Counting()), ())


def test_a_part_of_the_variants_leaves_the_others_results(done):
    assert done(variants=["two"]).variants == ["two"]
    assert done(variants=["three"], seeds=1).variants == ["two", "three"]


# ---- several processes, interruption ----


def test_workers_give_the_same_table(done, tmp_path):
    here, there = done(), done(out=tmp_path / "there", parallel=2)
    pd.testing.assert_frame_equal(here.table, there.table)
    lines = (there.folder / "cache" / "data" / "steps.txt").read_text().splitlines()
    assert str(os.getpid()) not in {line.split()[0] for line in lines}
    assert not running(there.folder)


@pytest.mark.parametrize("parallel", [0, 2])
def test_a_closed_study_resumes_where_it_was(parallel, done, options, tmp_path):
    study = replace(STUDY, trial=Counting(steps=8, pause=0.1))
    runs = run_study(study, tmp_path / "out", **options | {"parallel": parallel})
    for progress in runs:
        if progress.finished == 1 and max(progress.running.values(), default=0) > 0.2:
            break
    runs.close()
    assert not running(tmp_path / "out")
    before = steps(tmp_path / "out")
    assert StudyResults.read(tmp_path / "out").variants and len(before) < 6 * 8
    whole = done(replace(study, trial=Counting(steps=8)), out=tmp_path / "whole")
    resumed = done(study)
    pd.testing.assert_frame_equal(resumed.table, whole.table)
    assert sorted(steps(tmp_path / "out")) == sorted(steps(tmp_path / "whole"))  # none twice


KILLED = """
from dataclasses import replace
from pathlib import Path
from counting import STUDY, Counting
from daclip_lab.ablation.engine import run_study
from daclip_lab.data.photos import Photos

photos = {{part: Photos([Path(path)]) for part, path in {photos}.items()}}
study = replace(STUDY, trial=Counting(steps=8, pause=0.1))
for _ in run_study(study, {out!r}, weights={weights!r}, device="cpu", parallel=2, **photos):
    pass
"""


def test_a_killed_study_resumes_and_leaves_no_process(done, options, tmp_path):
    study = replace(STUDY, trial=Counting(steps=8, pause=0.1))
    out = tmp_path / "out"
    photos = {part: str(options[part].paths[0]) for part in ("train", "test")}
    program = KILLED.format(photos=photos, out=str(out), weights=str(options["weights"]))
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path}
    )
    log = out / "cache" / "data" / "steps.txt"
    wait_until(lambda: log.exists() and len(steps(out)) >= 20)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not running(out))
    finished = len(list((out / "cache" / "runs").iterdir()))
    assert 1 <= finished < 6
    resumed = done(study)
    whole = done(replace(study, trial=Counting(steps=8)), out=tmp_path / "whole")
    pd.testing.assert_frame_equal(resumed.table, whole.table)
    assert sorted(steps(out)) == sorted(steps(tmp_path / "whole"))


def running(folder):
    """The processes that did steps below a results folder and are still there."""
    lines = (folder / "cache" / "data" / "steps.txt").read_text().splitlines()
    pids = {int(line.split()[0]) for line in lines} - {os.getpid()}
    return [pid for pid in pids if alive(pid)]


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("parallel", [0, 1])
def test_a_run_that_fails_is_named_and_the_others_go_on(parallel, options, tmp_path):
    faults = {"bad": "error", "dead": "death"} if parallel else {"bad": "error"}
    bad = [Variant(name=name, change={"fault": fault}) for name, fault in faults.items()]
    study = replace(STUDY, variants=(*bad, *STUDY.variants), seeds=1)
    with pytest.raises(InputError, match=f"{len(bad)} of {3 + len(bad)} runs") as raised:
        list(run_study(study, tmp_path, **options | {"parallel": parallel}))
    assert "bad, seed 0: ValueError: a wheel came off" in str(raised.value)
    assert ("code 7" in str(raised.value)) == ("dead" in faults)
    assert StudyResults.read(tmp_path).variants == ["one", "two", "three"]


def test_a_second_process_is_refused(options, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "locked", partial(locked, patience=0.0))
    with locked(tmp_path), pytest.raises(InputError, match=str(tmp_path)):
        next(run_study(STUDY, tmp_path, **options))
    next(run_study(STUDY, tmp_path, **options))


# ---- what cannot be run ----


def test_a_photo_is_not_tested_on_that_is_trained_on(options, tmp_path):
    face = options["train"].paths[0]
    (copy := tmp_path / "other.png").write_bytes(face.read_bytes())
    with pytest.raises(InputError, match=r"other\.png"):
        run_study(STUDY, tmp_path, **options | {"test": Photos([copy])})


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"variants": ["four"]}, "'four'"),
        ({"seeds": 0}, "seeds=0"),
        ({"parallel": -1}, "parallel=-1"),
        ({"imports": ["no_such_module"]}, "'no_such_module'"),
        ({"device": "gpu"}, "'gpu'"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(wrong, named, options, tmp_path):
    with pytest.raises(InputError, match=named):
        next(run_study(STUDY, tmp_path, **options | wrong))


def test_a_folder_of_something_else_is_left_alone(done, options, tmp_path):
    (tmp_path / "crops").mkdir()
    with pytest.raises(InputError, match="crops"):
        next(run_study(STUDY, tmp_path, **options))
    folder = done().folder
    with pytest.raises(InputError, match="'counting'"):
        next(run_study(replace(STUDY, name="other"), folder, **options))


def test_a_trial_of_a_notebook_runs_in_this_process_only(done, options, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Local(Counting):
        pass

    study = replace(STUDY, trial=Local())
    with pytest.raises(InputError, match="parallel=0"):
        run_study(study, tmp_path, **options | {"parallel": 1})
    assert done(study).variants == ["one", "two", "three"]


def test_names_that_share_a_folder_are_refused():
    for names in (("A b", "a-b"), ("clean",)):
        variants = tuple(Variant(name=name) for name in names)
        with pytest.raises(InputError, match=names[0]):
            replace(STUDY, variants=variants, baseline=names[0])


# ---- parts ----


def test_a_trial_goes_through_json():
    trial = Counting(inner=Inner(names=("a", "b")), options={"list": [1, None], "tuple": (0.1, ())})
    content = json.loads(json.dumps(encode(trial)))
    assert decode(content) == trial
    assert classes(trial) == {Counting, Inner}
    with pytest.raises(InputError, match=r"options\.net"):
        encode(Counting(options={"net": torch.zeros(1)}))
    with pytest.raises(InputError, match="counting:Gone"):
        decode({"class": "counting:Gone", "fields": {}})


def test_the_time_left_follows_from_finished_runs_and_shares(monkeypatch):
    clock = iter([0, 0, 10, 10, 30, 30])
    monkeypatch.setattr(
        "daclip_lab.ablation.execution.progress.time.monotonic", lambda: next(clock)
    )
    tracker = Tracker({key: [(key, 0)] for key in "abcde"}, {"e"}, workers=2)
    tracker.note(Event("a", 0.0))
    tracker.note(Event("b", 0.0))
    tracker.note(Event("b", 0.25))
    # At 10 s a quarter: 40 s a run; a whole, three quarters and two to come, two at a time.
    assert tracker.progress().seconds_left == pytest.approx(3.75 * 40 / 2)
    tracker.note(Event("a", 1.0, done=True))
    progress = tracker.progress()
    assert progress.seconds_left == pytest.approx(2.75 * 30 / 2)
    assert (progress.finished, progress.total, progress.latest) == (2, 5, ("a", 0))
    assert progress.running == {("b", 0): 0.25}


def test_a_runs_table_is_checked():
    table = pd.DataFrame(
        {
            "image": ["a", "a"],
            "photo": "p",
            "degradation": "hazy",
            "metric": "m",
            "value": [1.0, 2.0],
        }
    )
    with pytest.raises(InputError, match="twice"):
        checked(Measurements(table, {}))
    with pytest.raises(InputError, match="photo"):
        checked(Measurements(table.drop(columns="photo"), {}))
    with pytest.raises(InputError, match="'a'"):
        checked(Measurements(table.assign(value=[1.0, float("nan")], image=["b", "a"]), {}))
    with pytest.raises(InputError, match="'a/b'"):
        checked(Measurements(table[:1], {"a/b": torch.zeros(3, 8, 8)}))


def test_the_noisiest_crop_takes_ten_kilobytes(tmp_path):
    noise = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    write_crop(tmp_path / "noise.webp", noise)
    assert (tmp_path / "noise.webp").stat().st_size <= CROP_BYTES


# ---- in the background, and published ----


def test_a_runner_runs_stops_and_goes_on(options, tmp_path):
    study = replace(STUDY, trial=Counting(steps=5, pause=0.02))
    runner = StudyRunner(study, tmp_path, **options)
    wait_until(lambda: runner.progress and runner.progress.running)
    runner.stop()
    assert not runner.busy and runner.progress.finished < 6
    results = StudyRunner(study, tmp_path, **options).wait()
    assert results.variants == ["one", "two", "three"]
    assert len(steps(tmp_path)) == 6 * 5


def test_a_runner_raises_what_went_wrong(options, tmp_path):
    runner = StudyRunner(replace(STUDY, trial=Counting(fault="error")), tmp_path, **options)
    with pytest.raises(InputError, match="6 of 6"):
        runner.wait()


def test_crops_are_kept_and_published_of_one_seed(done, tmp_path):
    results = done(replace(STUDY, trial=Counting(crops=True)))
    assert results.crop_names() == ["otter-snowy"]
    assert results.crop("two", 1, "otter-snowy").size == (128, 128)
    degraded, clean = (results.crop(kind, 0, "otter-snowy") for kind in ("degraded", "clean"))
    assert degraded.size == clean.size == (128, 128) and degraded != clean
    with pytest.raises(InputError, match="'two', seed 2"):
        results.crop("two", 2, "otter-snowy")
    (tmp_path / "published").mkdir()
    published = results.publish(tmp_path / "published")
    pd.testing.assert_frame_equal(published.table, results.table)
    assert published.crop("two", 0, "otter-snowy") == results.crop("two", 0, "otter-snowy")
    assert published.crop("clean", 0, "otter-snowy") == clean
    with pytest.raises(InputError, match="seed 1"):
        published.crop("two", 1, "otter-snowy")
    with pytest.raises(InputError, match="not empty"):
        results.publish(Path(__file__).parent)


def test_results_that_are_missing_are_named(tmp_path):
    with pytest.raises(InputError, match=r"study\.json"):
        StudyResults.read(tmp_path)
    with pytest.raises(InputError, match="'counting'"):
        StudyResults.published("counting")
