"""Trainings learn, keep the average of their weights, and go on exactly where they were interrupted."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Batch, Example
from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json, write_json
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.models.restorer import build_restorer
from daclip_lab.training import loop
from daclip_lab.training.checkpoints import read_tensors
from daclip_lab.training.loop import fit
from daclip_lab.training.objectives import train_clip, train_daclip
from daclip_lab.training.recipes import Recipe, RestorerRecipe, learning_rate, steps_of
from daclip_lab.training.restoration import restoration_error, train_restorer


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Trainings run in float32 on any processor; tests that take `precision` run in both formats."""
    monkeypatch.setattr(loop, "has_bf16", lambda device: False)


COLOURS = {"hazy": "red", "rainy": "green", "noisy": "blue"}


class Toy:
    """A source that is learned in a moment: the colour of an image is its degradation, its brightness its caption."""

    def draw(self, generator, size, *, captions=True):
        label = list(COLOURS)[int(torch.randint(3, (), generator=generator))]
        bright = bool(torch.randint(2, (), generator=generator))
        clean = torch.full((3, size, size), 0.9 if bright else 0.4)
        clean = clean + 0.05 * torch.rand(3, size, size, generator=generator)
        degraded = clean.clone()
        degraded[list(COLOURS).index(label)] *= 0.5
        return Example(
            clean=clean,
            degraded=degraded,
            label=label,
            severity=1.0,
            caption="a white photo" if bright else "a gray photo",
        )


class Line(nn.Module):
    """The smallest model."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 3))
        self.bias = nn.Parameter(torch.zeros(1))


def line_loss(model):
    """A linear fit of the mean of the clean from the means of the degraded channels, blurred by noise."""

    def loss(batch, generator):
        seen = batch.degraded.mean((2, 3)) + 0.1 * torch.randn(
            len(batch.labels), 3, generator=generator
        )
        value = (
            (seen @ model.weight.T + model.bias - batch.clean.mean((1, 2, 3))[:, None])
            .square()
            .mean()
        )
        return value, {}

    return loss


def recipe(**changes):
    return Recipe(
        **{
            "steps": 8,
            "batch_size": 2,
            "image_size": 8,
            "learning_rate": 0.1,
            "workers": 0,
            "bf16": False,
        }
        | changes
    )


def run_line(options=None, source=None, **changes):
    model = Line()
    for _ in fit(model, line_loss(model), source or Toy(), recipe(**changes), **(options or {})):
        pass
    return model.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def trainings(scale, randomize):
    """Each training of the library on its own fresh model: name -> function of options giving (model, steps)."""

    def clip(**options):
        model = scale.build_clip(seed=1)
        return model, train_clip(model, Toy(), scale.clip_training, **options)

    def daclip(**options):
        model = DaCLIP(scale.build_clip(seed=1))
        return model, train_daclip(model, Toy(), scale.daclip, **options)

    def restorer(**options):
        frozen = randomize(DaCLIP(scale.build_clip(seed=1)))
        model = randomize(scale.build_restorer(seed=1), std=0.02)
        return model, train_restorer(
            model, frozen, scale.build_sde(), Toy(), scale.restorer, **options
        )

    return {"clip": clip, "daclip": daclip, "restorer": restorer}


# ---- going on ----


@pytest.mark.parametrize("name", ["clip", "daclip", "restorer"])
def test_an_interrupted_training_ends_with_the_same_bytes(
    scale, randomize, tmp_path, name, precision
):
    start = trainings(scale, randomize)[name]
    whole, steps = start()
    expected = [(step.index, step.loss) for step in steps]
    assert [index for index, _ in expected] == [1, 2, 3, 4]

    _, steps = start(run=tmp_path / "run")
    first = [(step.index, step.loss) for _, step in zip(range(2), steps, strict=False)]
    steps.close()
    resumed, steps = start(run=tmp_path / "run", resume=True)
    then = [(step.index, step.loss) for step in steps]
    assert first + then == expected
    assert equal(resumed.state_dict(), whole.state_dict())


def test_resuming_twice_and_from_a_periodic_checkpoint(tmp_path):
    whole = run_line()
    options = {"run": tmp_path, "save_every": 2}
    for stop in (3, 2):
        model = Line()
        steps = fit(model, line_loss(model), Toy(), recipe(), resume=stop == 2, **options)
        for _ in range(stop):
            next(steps)
        steps.close()
    assert equal(run_line({"resume": True, **options}), whole)


def test_a_loss_that_is_no_number_ends_the_training_at_the_last_good_step(tmp_path):
    model, calls = Line(), []
    plain = line_loss(model)

    def broken(batch, generator):
        calls.append(batch)
        value, metrics = plain(batch, generator)
        return (value / 0 if len(calls) == 4 else value), metrics

    with pytest.raises(InputError, match=r"the loss is (inf|nan) at step 4"):
        list(fit(model, broken, Toy(), recipe(), run=tmp_path))
    assert all(p.isfinite().all() for p in model.parameters())
    assert equal(run_line({"run": tmp_path, "resume": True}), run_line())


def test_a_gradient_that_is_no_number_reaches_neither_weights_nor_checkpoint(tmp_path):
    model, calls = Line(), []
    plain = line_loss(model)

    def broken(batch, generator):
        calls.append(batch)
        value, metrics = plain(batch, generator)
        # The square root of 0 is 0, and its gradient here is inf * 0.
        return (value + (0 * model.bias).abs().sqrt().sum() if len(calls) == 4 else value), metrics

    with pytest.raises(InputError, match="gradient is nan at step 4"):
        list(fit(model, broken, Toy(), recipe(), run=tmp_path, save_every=1))
    assert all(p.isfinite().all() for p in model.parameters())
    state = read_tensors(tmp_path / "state.safetensors")
    assert all(value.isfinite().all() for value in state.values())
    assert equal(run_line({"run": tmp_path, "resume": True}), run_line())


@pytest.mark.parametrize("save_every", [1, 3, 200])
def test_losses_that_are_looked_at_late_never_spoil_a_checkpoint(tmp_path, monkeypatch, save_every):
    """As on a GPU: the fault of step 4 is found at step 6, or before a checkpoint is written."""
    monkeypatch.setattr(loop, "check_interval", lambda device: 3)
    model, calls, taken = Line(), [], []
    plain = line_loss(model)

    def broken(batch, generator):
        calls.append(batch)
        value, metrics = plain(batch, generator)
        return (value / 0 if len(calls) == 4 else value), metrics

    with pytest.raises(InputError, match=r"the loss is (inf|nan) at step 4"):
        for step in fit(model, broken, Toy(), recipe(), run=tmp_path, save_every=save_every):
            taken.append(step.index)
    assert taken[-1] == (3 if save_every == 1 else 5)
    if save_every < 200:
        state = read_tensors(tmp_path / "state.safetensors")
        assert state["step"] == 3 and all(value.isfinite().all() for value in state.values())
        assert equal(run_line({"run": tmp_path, "resume": True}), run_line())
    else:
        assert not (tmp_path / "state.safetensors").exists()


def test_leaving_early_with_a_fault_not_yet_looked_at_keeps_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "check_interval", lambda device: 100)
    model = Line()
    plain = line_loss(model)
    steps = fit(
        model,
        lambda *given: (plain(*given)[0] / (0 if done == 4 else 1), {}),
        Toy(),
        recipe(),
        run=tmp_path,
        save_every=2,
    )
    for done in range(6):
        next(steps) if done < 5 else steps.close()
    assert read_tensors(tmp_path / "state.safetensors")["step"] == 4


def test_slow_steps_are_saved_by_the_clock(tmp_path, monkeypatch):
    clock = iter(range(0, 10**6, 250))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock))
    model, saved = Line(), []
    monkeypatch.setattr(loop, "save_state", lambda *args: saved.append(args[-1]))
    list(fit(model, line_loss(model), Toy(), recipe(), run=tmp_path))
    assert saved[0] < recipe().steps


def test_an_interruption_in_the_middle_of_a_step_loses_no_batch(tmp_path):
    """Ctrl-C nearly always falls into the computation of a step: that step must not count as done."""
    whole = run_line()
    model, calls = Line(), []
    plain = line_loss(model)

    def interrupted(batch, generator):
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(batch, generator)

    with pytest.raises(KeyboardInterrupt):
        list(fit(model, interrupted, Toy(), recipe(), run=tmp_path, save_every=3))
    assert equal(run_line({"run": tmp_path, "resume": True}), whole)


def test_a_checkpoint_is_never_overwritten_by_a_new_training(tmp_path):
    run_line({"run": tmp_path}, steps=3)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(InputError) as caught:
        run_line({"run": tmp_path})
    assert str(tmp_path) in str(caught.value) and "step 3" in str(caught.value)
    assert (tmp_path / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("run", ["/proc/none", "a file/inside"])
def test_a_folder_that_cannot_be_written_to_is_refused_before_the_first_step(tmp_path, run):
    (tmp_path / "a file").touch()

    class Untouched(Toy):
        def draw(self, *args, **options):
            pytest.fail("drew a batch")

    with pytest.raises(InputError, match=run):
        run_line({"run": tmp_path / run}, source=Untouched())


def test_a_finished_training_resumes_to_what_it_was(tmp_path):
    whole = run_line({"run": tmp_path})
    assert equal(run_line({"run": tmp_path, "resume": True}), whole)


def test_another_recipe_is_refused_with_the_field_named(tmp_path):
    run_line({"run": tmp_path})
    with pytest.raises(InputError, match=r"learning_rate=0\.1 there and 0\.2 here"):
        run_line({"run": tmp_path, "resume": True}, learning_rate=0.2)
    with pytest.raises(InputError, match=r"steps=8 there and 16 here.*--start"):
        run_line({"run": tmp_path, "resume": True}, steps=16)


def test_a_recipe_from_before_a_field_existed_had_its_default(tmp_path):
    whole = run_line({"run": tmp_path})
    saved = read_json(tmp_path / "recipe.json")
    assert saved.pop("ema_every") == 1
    write_json(tmp_path / "recipe.json", saved)
    assert equal(run_line({"run": tmp_path, "resume": True}), whole)
    with pytest.raises(InputError, match="ema_every=1 there and 2 here"):
        run_line({"run": tmp_path, "resume": True}, ema_every=2)


def test_resuming_needs_a_run_that_exists(tmp_path):
    with pytest.raises(InputError, match="run="):
        run_line({"resume": True})
    with pytest.raises(InputError, match="does not exist"):
        run_line({"run": tmp_path / "none", "resume": True})
    assert not (tmp_path / "none").exists()


def test_batches_made_by_another_process_are_the_same():
    assert equal(run_line(steps=3, workers=1), run_line(steps=3, workers=0))


def test_what_a_source_refuses_is_one_line_from_another_process_too():
    class Refusing(Toy):
        def draw(self, generator, size, *, captions=True):
            raise InputError("a.png is broken")

    for workers in (0, 1):
        with pytest.raises(InputError) as caught:
            run_line(source=Refusing(), workers=workers)
        assert str(caught.value) == "a.png is broken"


@pytest.mark.parametrize("failure", ["in the caller", "in the source"])
def test_a_training_that_fails_ends_and_leaves_no_process_waiting(failure):
    script = f"""
import torch
from torch import nn
from daclip_lab.training.loop import fit
from daclip_lab.training.recipes import Recipe
from test_training import Toy

class Source(Toy):
    def draw(self, *args, **options):
        if {failure == "in the source"}:
            raise RuntimeError("it failed")
        return super().draw(*args, **options)

model = nn.Linear(3, 1)
recipe = Recipe(steps=100, batch_size=2, image_size=8, learning_rate=0.1, workers=2)
loss = lambda batch, generator: (model(batch.degraded.mean((2, 3))).square().mean(), {{}})
steps = fit(model, loss, Source(), recipe)
for step in steps:
    raise RuntimeError("it failed")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "it failed" in done.stderr


def test_captions_are_made_only_where_a_training_reads_them(scale):
    made = []

    class Watched(Toy):
        def draw(self, generator, size, *, captions=True):
            made.append(captions)
            return super().draw(generator, size, captions=captions)

    def captions_of(steps):
        made.clear()
        next(steps)
        return set(made)

    clip = scale.build_clip(seed=1)
    assert captions_of(train_clip(clip, Watched(), scale.clip_training)) == {True}
    daclip, without = DaCLIP(clip), replace(scale.daclip, train_content=False)
    assert captions_of(train_daclip(daclip, Watched(), scale.daclip)) == {True}
    assert captions_of(train_daclip(daclip, Watched(), without)) == {False}
    net, sde = scale.build_restorer(), scale.build_sde()
    assert captions_of(train_restorer(net, daclip, sde, Watched(), scale.restorer)) == {False}


def test_training_touches_no_global_randomness(scale, randomize):
    before = torch.get_rng_state()
    run_line()
    assert torch.equal(before, torch.get_rng_state())


# ---- what is kept ----


def test_the_end_is_the_running_average_of_the_weights():
    model = Line()
    weights = [p.detach().clone() for p in model.parameters()]
    average = [w.double() for w in weights]
    for step in fit(model, line_loss(model), Toy(), recipe(ema_decay=0.5)):
        decay = min(0.5, (1 + step.index) / (10 + step.index))
        latest = [p.detach().clone() for p in model.parameters()]
        average = [decay * a + (1 - decay) * w for a, w in zip(average, latest, strict=True)]
    for p, a, w in zip(model.parameters(), average, latest, strict=True):
        torch.testing.assert_close(p.detach().double(), a, atol=1e-6, rtol=1e-6)
        assert not torch.equal(p, w)


def test_the_average_may_be_taken_of_every_few_steps_and_of_the_last():
    model, latest = Line(), []
    for _ in fit(model, line_loss(model), Toy(), recipe(steps=5, ema_decay=0.5, ema_every=2)):
        latest.append(model.bias.detach().clone())
    average = torch.zeros(1)
    for updates, index in enumerate((2, 4, 5), start=1):
        decay = min(0.5, (1 + updates) / (10 + updates))
        average = decay * average + (1 - decay) * latest[index - 1]
    torch.testing.assert_close(model.bias.detach(), average)


def test_without_an_average_the_end_is_the_latest_weights():
    model, latest = Line(), []
    for _ in fit(model, line_loss(model), Toy(), recipe(ema_decay=0.0)):
        latest.append(model.weight.detach().clone())
    assert torch.equal(model.weight, latest[-1])


@pytest.mark.parametrize(("max_grad_norm", "largest"), [(0.5, 0.5), (None, 300.0)])
def test_gradients_are_as_long_as_the_recipe_lets_them(max_grad_norm, largest):
    model = Line()

    def steep(batch, generator):
        return 300 * model.bias.sum(), {}

    for _ in fit(model, steep, Toy(), recipe(steps=1, max_grad_norm=max_grad_norm)):
        assert model.bias.grad.norm().item() == pytest.approx(largest, rel=1e-4)


def test_only_what_requires_a_gradient_is_trained():
    model = Line()
    model.bias.requires_grad_(False)
    for _ in fit(model, line_loss(model), Toy(), recipe()):
        pass
    assert model.weight.any()
    assert not model.bias.any()


def test_biases_are_spared_the_weight_decay():
    def drop(batch, generator):
        return 0 * (model.weight.sum() + model.bias.sum()), {}

    model = Line()
    with torch.no_grad():
        model.weight.fill_(1)
        model.bias.fill_(1)
    for _ in fit(model, drop, Toy(), recipe(weight_decay=0.5, ema_decay=0.0)):
        pass
    assert (model.weight < 1).all()
    assert model.bias.item() == 1


def test_the_seed_decides_the_training():
    assert equal(run_line(seed=1), run_line(seed=1))
    assert not equal(run_line(seed=1), run_line(seed=2))


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    plan = recipe(steps=30, warmup=10, learning_rate=2.0, final_learning_rate=0.5)
    rates = [learning_rate(plan, i) for i in range(31)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[20] == pytest.approx((2.0 + 0.5) / 2)
    assert rates[30] == pytest.approx(0.5)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert learning_rate(recipe(warmup=0), 0) == pytest.approx(0.1)


def sent(training, factors):
    """The learning rates of a training that is sent the factor before each step after the first, if any."""
    rates = [next(training).learning_rate]
    rates += [training.send(factors.get(index)).learning_rate for index in range(2, 9)]
    assert next(training, None) is None
    return rates


@pytest.mark.parametrize("name", ["plain", "delegating"])
def test_a_factor_scales_the_learning_rate_from_the_next_step_on(name):
    def steps(model):
        training = fit(model, line_loss(model), Toy(), recipe())
        return training if name == "plain" else (lambda: (yield from training))()

    plan = [learning_rate(recipe(), index) for index in range(8)]
    models = [Line() for _ in range(4)]
    assert sent(steps(models[0]), {}) == plan
    assert sent(steps(models[1]), {2: 1.0, 5: 1}) == plan
    assert sent(steps(models[2]), {4: 0.5, 7: 2}) == [
        rate * factor for rate, factor in zip(plan, [1, 1, 1, 0.5, 0.5, 0.5, 2, 2], strict=True)
    ]
    slow = sent(steps(models[3]), {2: 1e-9})
    assert slow[0] == plan[0] and slow[1:] == [1e-9 * rate for rate in plan[1:]]
    first, same, other, stopped = (model.state_dict() for model in models)
    assert equal(first, same) and equal(first, run_line())
    assert not equal(first, other) and not equal(first, stopped)


def test_a_factor_acts_on_the_weights():
    """Steps of AdamW scale with the learning rate: at a millionth of it the weights stay where they are."""
    model = Line()
    training = fit(model, line_loss(model), Toy(), recipe(learning_rate=0.1, ema_decay=0.0))
    next(training)
    before = model.weight.detach().clone()
    training.send(1e-6)
    assert (model.weight - before).abs().max() < 1e-6
    training.send(1)
    assert (model.weight - before).abs().max() > 1e-3


@pytest.mark.parametrize("factor", [0, -1.0, math.inf, math.nan])
def test_a_factor_that_is_not_above_zero_is_refused(tmp_path, factor):
    model = Line()
    training = fit(model, line_loss(model), Toy(), recipe(), run=tmp_path)
    next(training)
    with pytest.raises(InputError, match=str(factor)):
        training.send(factor)
    assert equal(run_line({"run": tmp_path, "resume": True}), run_line())


def test_a_resumed_training_has_the_learning_rate_of_the_recipe(tmp_path):
    model = Line()
    training = fit(model, line_loss(model), Toy(), recipe(), run=tmp_path)
    next(training)
    training.send(0.5)
    training.close()
    resumed = fit(Line(), line_loss(model), Toy(), recipe(), run=tmp_path, resume=True)
    assert next(resumed).learning_rate == learning_rate(recipe(), 2)


@pytest.mark.parametrize("name", ["clip", "daclip", "restorer"])
def test_each_training_takes_factors(scale, randomize, name):
    start = trainings(scale, randomize)[name]
    plain = [step.learning_rate for step in start()[1]]
    _, training = start()
    assert next(training).learning_rate == plain[0]
    assert training.send(0.25).learning_rate == 0.25 * plain[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 1.5),
        ("steps", True),
        ("learning_rate", "1e-3"),
        ("seed", None),
        ("bf16", "yes"),
        ("betas", (0.9,)),
        ("batch_size", 0),
        ("warmup", -1),
        ("learning_rate", math.nan),
    ],
)
def test_a_recipe_refuses_values_of_another_type_or_out_of_range(field, value):
    with pytest.raises(InputError) as caught:
        recipe(**{field: value})
    assert str(caught.value).startswith(f"{field}={value!r}")


def test_epochs_count_whole_batches():
    assert steps_of(epochs=50, pairs=52_801, batch_size=3136) == 50 * 16
    assert steps_of(epochs=3, pairs=6, batch_size=2) == 9
    with pytest.raises(InputError, match="5 pairs make no batch of 8"):
        steps_of(epochs=3, pairs=5, batch_size=8)


# ---- what is learned ----


def average_loss(steps):
    losses = [step.loss for step in steps]
    assert all(math.isfinite(loss) for loss in losses)
    return sum(losses[:3]) / 3, sum(losses[-3:]) / 3


def test_clip_learns(scale):
    clip = scale.build_clip(seed=1)
    plan = replace(scale.clip_training, steps=80, learning_rate=2e-3)
    first, last = average_loss(train_clip(clip, Toy(), plan))
    assert last < 0.6 * first


def test_the_controller_learns_and_clip_stays_frozen(scale):
    daclip = DaCLIP(scale.build_clip(seed=1))
    before = {name: value.clone() for name, value in daclip.clip.state_dict().items()}
    plan = replace(scale.daclip, steps=25, learning_rate=5e-3, multi_positive=True, synonyms=False)
    steps = list(train_daclip(daclip, Toy(), plan))
    degradation = [step.metrics["degradation_loss"] for step in steps]
    assert sum(degradation[-3:]) < 0.6 * sum(degradation[:3])
    assert steps[-1].metrics["accuracy"] > steps[0].metrics["accuracy"] - 1e-9
    assert {"content_loss", "cosine"} <= set(steps[-1].metrics)
    assert equal(daclip.clip.state_dict(), before)
    assert all(p.grad is None for p in daclip.clip.parameters())


def test_a_controller_taken_from_a_pipeline_can_be_trained_further(pipe, scale):
    before = {name: value.clone() for name, value in pipe.daclip.controller.state_dict().items()}
    for _ in train_daclip(pipe.daclip, Toy(), replace(scale.daclip, steps=1)):
        pass
    assert not equal(pipe.daclip.controller.state_dict(), before)


def test_the_restorer_learns(scale):
    plan = replace(scale.restorer, steps=25, learning_rate=1e-2)
    steps = train_restorer(scale.build_restorer(seed=1), None, scale.build_sde(), Toy(), plan)
    first, last = average_loss(steps)
    assert last < 0.7 * first


def test_metrics_are_numbers(scale, randomize):
    """A batch in which no example starts at t = T has no error there: then it is left out, not NaN."""
    plan = replace(scale.restorer, t_max_prob=0.0, steps=3)
    steps = train_restorer(scale.build_restorer(), None, scale.build_sde(), Toy(), plan)
    assert all(math.isfinite(v) for step in steps for v in step.metrics.values())


def test_retrieval_counts_an_equal_caption_as_right(scale):
    """With two captions in the whole world, a CLIP that has learned both retrieves a right one nearly always."""
    plan = replace(scale.clip_training, steps=30, batch_size=16, learning_rate=5e-3)
    source = Toy()
    source.draw = lambda g, s, **_: replace(Toy.draw(source, g, s), label="clean")
    last = list(train_clip(scale.build_clip(seed=1), source, plan))[-1]
    assert last.loss < 0.3
    assert last.metrics["retrieval"] > 0.8


def test_dropped_embeddings_train_nothing_that_depends_on_them(scale, randomize):
    daclip = randomize(DaCLIP(scale.build_clip(seed=1)))

    def changed(conditioning_dropout):
        net = randomize(scale.build_restorer(seed=1), std=0.05)
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        plan = replace(scale.restorer, steps=1, conditioning_dropout=conditioning_dropout)
        for _ in train_restorer(net, daclip, scale.build_sde(), Toy(), plan):
            pass
        return {
            name.split(".")[0]
            for name, p in net.named_parameters()
            if not torch.equal(p, before[name])
        }

    assert {"content", "degradation", "time", "intro"} <= changed(conditioning_dropout=0.0)
    assert changed(conditioning_dropout=1.0) & {"content", "degradation", "time"} == {"time"}


def test_training_a_restorer_changes_nothing_about_daclip(scale, randomize):
    daclip = randomize(DaCLIP(scale.build_clip(seed=1)))
    daclip.controller.eval()
    before = {name: value.clone() for name, value in daclip.state_dict().items()}

    def flags():
        modes = [module.training for module in daclip.modules()]
        return modes, [(p.requires_grad, p.device, p.dtype) for p in daclip.parameters()]

    given = flags()
    for _ in train_restorer(
        scale.build_restorer(), daclip, scale.build_sde(), Toy(), scale.restorer
    ):
        pass
    assert equal(daclip.state_dict(), before)
    assert all(p.grad is None for p in daclip.parameters())
    assert flags() == given


def test_a_daclip_on_another_device_stays_there(scale):
    daclip = DaCLIP(scale.build_clip(seed=1)).to("meta")
    with pytest.raises(NotImplementedError, match="meta"):  # no data to copy
        train_restorer(scale.build_restorer(), daclip, scale.build_sde(), Toy(), scale.restorer)
    assert all(p.is_meta for p in daclip.parameters())


def test_daclip_runs_in_float32_in_training_and_in_use(pipe, scale, monkeypatch):
    """Also where the restorer itself runs in bfloat16."""
    for module in ("daclip_lab.training.loop", "daclip_lab.pipeline.restoration"):
        monkeypatch.setattr(f"{module}.has_bf16", lambda device: True)
    seen = {"daclip": set(), "restorer": set()}
    parts = {
        "daclip": [pipe.daclip.controller.zeros[0], pipe.clip.visual.transformer.resblocks[0]],
        "restorer": [pipe.restorer.intro],
    }
    for name, modules in parts.items():
        for module in modules:
            module.register_forward_hook(lambda *args, name=name: seen[name].add(args[-1].dtype))
    list(pipe.trajectory(torch.rand(1, 3, 32, 32), steps=1))
    assert seen == {"daclip": {torch.float32}, "restorer": {torch.bfloat16}}
    seen["restorer"].clear()
    pipe.restorer.requires_grad_(True)
    next(train_restorer(pipe.restorer, pipe.daclip, pipe.sde, Toy(), scale.restorer))
    assert seen == {"daclip": {torch.float32}, "restorer": {torch.bfloat16}}


def test_the_papers_restorer_can_be_trained_without_daclip(scale):
    net = build_restorer({"kind": "unet", "channels": 32, "multipliers": (1, 1)}, 32)
    assert len(list(train_restorer(net, None, scale.build_sde(), Toy(), scale.restorer))) == 4


def test_an_image_tower_that_is_not_trained_keeps_its_statistics(scale):
    clip = scale.build_clip(seed=1)
    before = {name: value.clone() for name, value in clip.visual.state_dict().items()}
    plan = replace(scale.clip_training, steps=2, train_image_tower=False)
    assert len(list(train_clip(clip, Toy(), plan))) == 2
    assert equal(clip.visual.state_dict(), before)
    assert any(name.endswith("running_var") for name in before)


# ---- the restoration error ----

MATCHING = RestorerRecipe(steps=1, batch_size=1, image_size=8, learning_rate=1.0)
LOG_MSE = replace(MATCHING, objective="log_mse")


@pytest.fixture
def example(scale):
    sde = scale.build_sde()
    generator = seeded(0)
    clean, degraded = torch.rand(2, 6, 3, 8, 8, generator=generator, dtype=torch.float64)
    noise = torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    t = torch.tensor([1, 2, 10, 50, 99, 100])
    state = sde.diffuse(clean, degraded, t, noise)
    batch = Batch(
        clean=clean,
        degraded=degraded,
        labels=["hazy"] * 6,
        captions=[""] * 6,
    )
    return sde, batch, state, t, {"sample": clean, "epsilon": noise}


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon"])
def test_a_perfect_prediction_has_no_error(example, prediction_type):
    sde, batch, state, t, perfect = example
    error = restoration_error(
        prediction_type, LOG_MSE, sde, perfect[prediction_type], batch, state, t
    )
    # The log of the squared error ends at 40 dB, so that no image asks for more.
    lowest = torch.full((6,), math.log(1e-4), dtype=torch.float64)
    torch.testing.assert_close(error, lowest, atol=1e-6, rtol=0)
    # The matching objective compares an Euler step with the exact one: they differ by less than the square of
    # theta, which is largest (0.104) at the end, times the distance to the degraded image and the noise (below 1).
    error = restoration_error(
        prediction_type, MATCHING, sde, perfect[prediction_type], batch, state, t
    )
    assert (error < 0.01).all()
    assert (error[:4] < 1e-3).all()


@pytest.mark.parametrize("recipe", [LOG_MSE, MATCHING])
def test_both_kinds_of_prediction_mean_the_same_error(example, recipe):
    sde, batch, state, t, perfect = example
    clean = perfect["sample"] * 0.9 + 0.02
    noise = sde.noise_from_clean(state, batch.degraded, clean, t)
    one = restoration_error("sample", recipe, sde, clean, batch, state, t)
    two = restoration_error("epsilon", recipe, sde, noise, batch, state, t)
    torch.testing.assert_close(one, two)
    perfect = restoration_error("sample", recipe, sde, batch.clean, batch, state, t)
    assert (one > perfect).all()


def test_log_mse_counts_decibels(example):
    sde, batch, state, t, _ = example
    near = restoration_error("sample", LOG_MSE, sde, batch.clean + 0.1, batch, state, t)
    far = restoration_error("sample", LOG_MSE, sde, batch.clean + 0.2, batch, state, t)
    decibels = 10 / math.log(10) * (far - near)
    torch.testing.assert_close(
        decibels, torch.full((6,), 6.0, dtype=torch.float64), atol=0.05, rtol=0
    )


def test_the_harm_penalty_counts_what_is_lost_to_the_input(example):
    sde, batch, state, t, _ = example
    penalised = replace(LOG_MSE, harm_penalty=2.0)

    def errors(clean):
        return [
            restoration_error("sample", recipe, sde, clean, batch, state, t)
            for recipe in (LOG_MSE, penalised)
        ]

    plain, counted = errors((batch.degraded + batch.clean) / 2)  # nearer to the clean image
    torch.testing.assert_close(plain, counted, rtol=0, atol=0)
    plain, counted = errors(2 * batch.degraded - batch.clean)  # twice as far as the input
    before = (batch.degraded - batch.clean).square().mean((1, 2, 3))
    lost = ((4 * before + 1e-4) / (before + 1e-4)).log()
    torch.testing.assert_close(counted - plain, 2.0 * lost)


def test_an_unknown_objective_is_refused():
    with pytest.raises(InputError, match="'l2'"):
        replace(LOG_MSE, objective="l2")


def test_the_papers_restorer_is_conditioned_on_unnormalized_embeddings(scale, randomize):
    """As in the authors' training."""
    daclip, net = randomize(DaCLIP(scale.build_clip(seed=1))), scale.build_restorer(seed=1)
    given = []

    def conditions_with(uses_unnormalized_embeddings):
        net.uses_unnormalized_embeddings = uses_unnormalized_embeddings
        recipe = replace(scale.restorer, steps=1, conditioning_dropout=0.0)
        prepare = net.prepare
        net.prepare = lambda *e: given.append([part.clone() for part in e]) or prepare(*e)
        list(train_restorer(net, daclip, scale.build_sde(), Toy(), recipe))
        net.prepare = prepare
        return given.pop()

    features, directions = conditions_with(True), conditions_with(False)
    for feature, direction in zip(features, directions, strict=True):
        lengths = feature.norm(dim=1, keepdim=True)
        assert (lengths - 1).abs().min() > 0.1
        torch.testing.assert_close(feature / lengths, direction, atol=1e-5, rtol=0)


def test_the_controllers_temperature_stays_below_clips_limit(scale):
    daclip = DaCLIP(scale.build_clip(seed=1))
    with torch.no_grad():
        daclip.logit_scale.fill_(5.0)
    next(train_daclip(daclip, Toy(), scale.daclip))
    assert daclip.logit_scale.item() == pytest.approx(math.log(100), abs=0.01)
