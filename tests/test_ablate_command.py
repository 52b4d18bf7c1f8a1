"""`daclip-lab ablate`: the engine from the shell."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from counting import STUDY

from daclip_lab.ablation.power import published
from daclip_lab.ablation.results import StudyResults
from daclip_lab.ablation.studies import NAMES, study
from daclip_lab.cli import main


@pytest.fixture
def arguments(weights, photo_folder, tmp_path):
    """A call that runs the study of `counting` into a folder `out`."""
    for part, name in (("train", "face"), ("test", "cup")):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{name}.png").write_bytes((photo_folder / f"{name}.png").read_bytes())
    return ["ablate", "counting:STUDY", "--out", str(tmp_path / "out"), "--weights", str(weights),
            "--train", str(tmp_path / "train"), "--test", str(tmp_path / "test"),
            "--device", "cpu", "--parallel", "0"]  # fmt: skip


def test_a_study_is_run_and_compared(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "2 seeds and 1 photo" in printed[0]
    two = next(line for line in printed if line.startswith("two against one:"))
    # With seeds 0 and 1, three steps: 11/6 and 13/12 more, by the mean of both.
    assert f"{(11 / 6 + 13 / 12) / 2:+.3g}" in two
    results = StudyResults.read(tmp_path / "out")
    assert results.variants == ["one", "two", "three"] and results.seeds == [0, 1]
    assert results.info["command"].startswith("daclip-lab ablate counting:STUDY --out ")


def test_a_part_of_a_study_at_the_smallest_size(arguments, tmp_path):
    assert main([*arguments, "--smoke", "--seeds", "1", "--variants", "one", "three"]) == 0
    results = StudyResults.read(tmp_path / "out")
    assert results.variants == ["one", "three"] and results.seeds == [0]
    assert results.table.value.max() == pytest.approx(3 / 1 + len("noisy"))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--variants", "four"], "four"),
        (["--seeds", "0"], "seeds=0"),
        (["--imports", "no_such_module"], "no_such_module"),
        (["--test", "{train}"], "face.png"),
        (["--out", "{train}/face.png"], "face.png"),
    ],
)
def test_what_cannot_be_run_is_named(more, named, arguments, tmp_path, capsys):
    more = [word.format(train=tmp_path / "train") for word in more]
    assert main([*arguments, *more]) == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "name", ["nothing", "no_such_module:STUDY", "counting:NONE", "counting:os"]
)
def test_a_study_that_is_not_there_is_named(name, tmp_path, capsys):
    assert main(["ablate", name, "--out", str(tmp_path)]) == 2
    assert repr(name) in capsys.readouterr().err
    assert main(["ablate"]) == 2
    assert "--list" in capsys.readouterr().err


def test_the_list_names_all_studies(capsys):
    assert main(["ablate", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    for line, name in zip(lines, NAMES, strict=True):
        assert study(name).question in line
        assert f"{len(study(name).variants)} x {study(name).seeds} runs" in line
        assert "published" in line or "not run" in line


def test_control_c_keeps_what_is_done(arguments, tmp_path):
    program = (
        "import sys, counting\n"
        "from dataclasses import replace\n"
        "from daclip_lab.cli import main\n"
        "counting.STUDY = replace(counting.STUDY, trial=counting.Counting(steps=20, pause=0.05))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    run = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "out" / "cache" / "data" / "steps.txt"
    end = time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < 25:
        assert time.monotonic() < end
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 130
    assert str(tmp_path / "out") in run.stderr.read()
    assert StudyResults.read(tmp_path / "out").variants == [STUDY.variants[0].name]


def test_the_page_in_the_docs_is_that_of_the_published_results(tmp_path):
    docs = Path(__file__).parents[1] / "docs"
    assert main(["ablate", "--page", str(tmp_path / "what_matters.md")]) == 0
    assert (tmp_path / "what_matters.md").read_text() == (docs / "what_matters.md").read_text()
    figures = {file.name for file in (tmp_path / "what_matters").iterdir()}
    assert figures == {file.name for file in (docs / "what_matters").iterdir()}
    assert figures == {f"{results.info['name']}.png" for results in published()}


def test_what_is_published_is_small_and_names_no_place_of_a_machine():
    for results in published():
        size = sum(file.stat().st_size for file in results.folder.rglob("*") if file.is_file())
        assert size < 1_500_000, results.folder
        assert not re.search(r"(?<![\w.-])/\w", results.info["command"])
