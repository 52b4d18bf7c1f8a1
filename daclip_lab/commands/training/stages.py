"""train all: CLIP, its words, the controller, the restorer and the calibration, one after the other.

Each stage has a folder in the run, as if it were trained alone: state, log and, once it is finished, weights. The run
itself is a folder of weights: those of the last finished stage.
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from daclip_lab.commands.init_weights import starting_weights
from daclip_lab.commands.training import plan as plans
from daclip_lab.commands.training.parts import TRAININGS, Training
from daclip_lab.commands.training.plan import SHARES, Plan, Speed
from daclip_lab.commands.training.progress import accelerated, follow
from daclip_lab.commands.training_data import PARTS, described, source_of, validation_photos
from daclip_lab.data.photos import Photos
from daclip_lab.errors import InputError
from daclip_lab.evaluation.calibrate import calibrate
from daclip_lab.files.storage import check_output_folder
from daclip_lab.pipeline.loading import load
from daclip_lab.pipeline.serialization import read_settings, write_settings
from daclip_lab.training import presets
from daclip_lab.training.checkpoints import saved_step

if TYPE_CHECKING:
    from accelerate import Accelerator
    from tqdm.auto import tqdm

CALIBRATION_PHOTOS = 30
"""The most photos that the calibration takes."""
MEASURED = 5.0, 0.02
"""How long the speed of a stage is measured: seconds at most, and as a share of all the time."""
BAR = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


def train_all(options: argparse.Namespace) -> None:
    """Train CLIP, words, controller and restorer in turn, each for its share of the time, and calibrate the classifier.

    RUN can be loaded as soon as the first is trained. The speed is measured at the start; the step counts that follow
    are stored in RUN/plan.json and used on --resume.
    """
    from tqdm.auto import tqdm

    check_output_folder(options.out)
    with accelerated(options) as accelerator:
        run = _Run(options, accelerator)
        plan = run.plan()
        stages = [stage for stage in SHARES if plan.steps[stage]]
        finished = [stage for stage in stages if run.is_finished(stage)]
        # What advances the bar: --steps may give some to a stage without a share.
        shares = {stage: plan.shares[stage] or SHARES[stage] for stage in stages}
        total, main = sum(shares.values()), accelerator.is_main_process
        with tqdm(total=total, bar_format=BAR, disable=not main) as bar:
            if main:
                bar.write(f"data: {run.data}")
                bar.write("steps: " + ", ".join(f"{each} {plan.steps[each]}" for each in stages))
            for stage in stages:
                bar.set_description(stage)
                before = bar.n
                if stage in finished:
                    bar.initial += shares[stage]
                else:
                    run.finish(stage, plan.steps[stage], bar, shares[stage])
                # The last finished one again: an interruption may have come before it was published.
                if stage not in finished[:-1]:
                    run.publish(stage)
                bar.update(before + shares[stage] - bar.n)
        if main:
            print(f"weights written to {options.out}")


class _Run:
    """One run of `train_all`."""

    def __init__(self, options: argparse.Namespace, accelerator: "Accelerator"):
        self.options, self.accelerator = options, accelerator
        self.began = time.perf_counter()
        self.out, self.scale = Path(options.out), presets.named(options.scale)
        if self.scale.clip_training is None:
            raise InputError(f"the {self.scale.name} scale takes a pretrained CLIP: see its parts")
        if options.seed < 0:
            raise InputError(f"--seed {options.seed}: wanted 0 or more")
        self.photos = validation_photos(options.data)
        self.data = described(source_of(options.data, self.scale, pairs=options.pairs))
        if options.start:
            started = load(options.start)
            if started.daclip is None or started.restorer is None:
                raise InputError(f"--start {options.start}: wanted a controller and a restorer")

    def plan(self) -> Plan:
        """The plan: that of RUN on --resume, or a new one, which is stored there."""
        options, photos = self.options, len(self.photos or ())
        names = ("scale", "seed", "data", "pairs", "start", "minutes")
        wanted = {name: getattr(options, name) for name in names}
        shares = plans.SHARES_FROM_START if options.start else SHARES
        if options.shares:
            shares = self._complete(shares | plans.numbers(options.shares, "--shares"), "--shares")
        wanted["shares"] = shares
        if options.steps:
            default = {"calibration": min(CALIBRATION_PHOTOS, photos)}
            steps = default | plans.numbers(options.steps, "--steps")
            if steps["calibration"] > photos:
                raise InputError(
                    f"--steps: calibration={photos} at most: so many photos are held out"
                )
            wanted["steps"] = dict.fromkeys(SHARES, 0) | self._complete(steps, "--steps")
        if options.resume:
            return plans.stored(self.out, **wanted)
        if any((self.out / f"{name}.json").exists() for name in ("plan", "pipeline")):
            raise InputError(
                f"{self.out} holds a training: continue it with --resume, or name another folder"
            )
        if not options.steps:
            wanted["steps"] = self._measured(shares if photos else {**shares, "calibration": 0})
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            Plan(**wanted).store(self.out)
        self.accelerator.wait_for_everyone()
        return plans.stored(self.out)

    def _complete(self, numbers: dict[str, int], option: str) -> dict[str, int]:
        """The numbers, after a check that the stages which cannot be left out have one."""
        needed = ("daclip", "restorer") if self.options.start else ("clip", "daclip", "restorer")
        if missing := [stage for stage in needed if not numbers.get(stage)]:
            raise InputError(f"{option}: wanted {missing[0]}=NUMBER, 1 or more")
        return numbers

    def _measured(self, shares: dict[str, int]) -> dict[str, int]:
        """The step counts that fill --minutes."""
        if self.accelerator.num_processes > 1:
            raise InputError("several processes measure no common speed: name the --steps")
        seconds = 60 * self.options.minutes
        if not 0 < seconds < math.inf:
            raise InputError(f"--minutes {self.options.minutes}: wanted a number above 0")
        given, limit = self.options.start or "random", min(MEASURED[0], MEASURED[1] * seconds)
        speeds = {}
        for part in PARTS:
            if shares[part]:
                training = self._training(part, given, steps=1_000_000, loop={})
                speeds[part] = plans.measure(training.steps, limit)
        if shares["calibration"]:
            pipe, began = starting_weights(given, self.scale), time.perf_counter()
            calibrate(pipe.to(self.accelerator.device), self._some_photos(1))
            speeds["calibration"] = Speed(0.0, time.perf_counter() - began)
        left = seconds - (time.perf_counter() - self.began)
        steps = plans.steps_in(left, shares, speeds)
        most = min(CALIBRATION_PHOTOS, len(self.photos or ()))
        return steps | {"calibration": min(most, steps["calibration"])}

    def _training(self, part: str, weights: str | None, steps: int, loop: dict) -> Training:
        """A training of one part, as `daclip-lab train PART --weights ...`."""
        options = argparse.Namespace(
            weights=weights,
            start=self.options.start,
            steps=steps,
            seed=self.options.seed,
            workers=self.options.workers,
            batch=None,
            learning_rate=None,
            degradation_only=False,
        )
        source = source_of(self.options.data, self.scale, part, pairs=self.options.pairs)
        loop = {"accelerator": self.accelerator, **loop}
        return TRAININGS[part](options, self.scale, source, loop)

    def is_finished(self, stage: str) -> bool:
        """Whether a stage has written its result."""
        return (self.out / stage / "pipeline.json").is_file()

    def finish(self, stage: str, steps: int, bar: "tqdm", share: float) -> None:
        """Run a stage, from its checkpoint if it has one, and write its result; the bar advances by `share`."""
        folder, main = self.out / stage, self.accelerator.is_main_process
        if stage in PARTS:
            loop = {"run": folder, "resume": saved_step(folder) is not None}
            training = self._training(stage, self._weights(stage), steps, loop)
            follow(training, folder, bar, weight=share / steps)
            if main:
                training.pipe.save(folder)
        elif main:
            pipe = load(self._weights(stage), device=self.accelerator.device)
            found = calibrate(pipe, self._some_photos(steps))
            write_settings(folder, replace(pipe.settings, **found._asdict()))
        self.accelerator.wait_for_everyone()

    def publish(self, stage: str) -> None:
        """Copy the weights of a finished stage into the run itself."""
        if self.accelerator.is_main_process:
            folder = self.out / stage
            pipe = load(folder if stage in PARTS else self._weights(stage))
            pipe.settings = read_settings(folder / "pipeline.json")
            pipe.save(self.out)

    def _weights(self, stage: str) -> str:
        """What a stage builds on: the weights of the last one before it, or those that the training starts from."""
        before = list(SHARES)[: list(SHARES).index(stage)]
        found = (str(self.out / each) for each in reversed(before) if self.is_finished(each))
        return next(found, self.options.start)

    def _some_photos(self, number: int) -> Photos:
        """So many of the held-out photos, spread over all."""
        paths = self.photos.paths  # type: ignore[union-attr]  # without photos there is no calibration
        return Photos(paths[:: len(paths) // number][:number])
