"""Several processes train as one: the same weights in each, the same mean gradient, and one of them writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from two_processes import RECIPE, Grays, run_command, train_line

from daclip_lab.cli import main
from daclip_lab.data.seeding import seeded
from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json
from daclip_lab.training.checkpoints import read_tensors
from daclip_lab.training.devices import make_accelerator

SCRIPT = Path(__file__).parent / "two_processes.py"


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def launched(tmp_path_factory, weights, photo_folder):
    """What two processes wrote that `accelerate launch` started on the CPU, and how the command was called."""
    out = tmp_path_factory.mktemp("launched")
    command = ["train", "restorer", "--scale", "smoke", "--data", str(photo_folder), "--weights"]
    command = [*command, str(weights), "--batch", "32", "--workers", "0", "--out"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # --multi_gpu is how accelerate starts several processes by itself; on a machine without GPUs they run on the CPU.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", str(port), str(SCRIPT), str(out), *command, str(out / "run")]
    done = subprocess.run(
        [sys.executable, *launch],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return out, command, done


def test_both_processes_end_with_the_same_weights(launched):
    out, *_ = launched
    for name in ("line", "restorer"):
        assert same(*(read_tensors(out / f"{name}{rank}.safetensors") for rank in "01"))


def test_two_processes_do_what_one_does_with_the_batches_of_both(launched):
    out, *_ = launched

    class Both(Grays):
        """Draws the two halves of every batch as the two processes do."""

        drawn = 0

        def draw(self, generator, size, **options):
            half, place = divmod(self.drawn, RECIPE.batch_size // 2)
            if place == 0:
                self.generator = seeded(RECIPE.seed, half)
            self.drawn += 1
            return super().draw(self.generator, size, **options)

    line, losses = train_line(Both())
    apart = read_tensors(out / "line0.safetensors")
    for name, value in line.state_dict().items():
        torch.testing.assert_close(apart[name], value, atol=1e-5, rtol=0)
    for rank in "01":
        assert read_json(out / f"line{rank}.json")["losses"] == pytest.approx(losses, rel=1e-4)


def test_one_process_writes_and_prints(launched):
    out, _, done = launched
    assert done.stdout.count("weights written to") == 1
    kept = read_tensors(out / "run" / "restorer.safetensors")
    assert same(kept, read_tensors(out / "restorer0.safetensors"))
    lines = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines].count(4) == 1
    assert not list((out / "run").glob("*.part"))


def test_one_process_has_about_the_same_losses(launched, tmp_path):
    """It sees other images, drawn in the same way and as many of them."""
    out, command, _ = launched
    both = [read_json(out / f"restorer{rank}.json")["losses"] for rank in "01"]
    assert both[0] == both[1] and len(both[0]) == 4
    code, _, alone = run_command([*command, tmp_path / "run"])
    assert code == 0
    assert sum(both[0]) / 4 == pytest.approx(sum(alone) / 4, abs=0.6)


def test_a_run_of_two_processes_goes_on_in_one(launched):
    out, command, _ = launched
    before = read_tensors(out / "run" / "restorer.safetensors")
    assert main([*command, str(out / "run"), "--resume"]) == 0
    assert same(before, read_tensors(out / "run" / "restorer.safetensors"))


def test_an_accelerator_of_one_process_changes_nothing():
    (plain, losses), (lent, again) = (
        train_line(Grays()),
        train_line(Grays(), accelerator=make_accelerator()),
    )
    assert losses == again
    assert same(plain.state_dict(), lent.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_processes": 3}, "batch_size=4: wanted a multiple of the 3 processes"),
        ({"distributed_type": SimpleNamespace(value="FSDP")}, "accelerate is set to FSDP and no"),
        ({"mixed_precision": "fp16"}, "NO and fp16: wanted .* without fp16"),
    ],
)
def test_what_would_train_wrongly_is_refused(changes, message):
    given = {
        "distributed_type": SimpleNamespace(value="NO"),
        "mixed_precision": "no",
        "num_processes": 1,
        "process_index": 0,
    }
    with pytest.raises(InputError, match=message):
        train_line(Grays(), accelerator=SimpleNamespace(**given | changes))
