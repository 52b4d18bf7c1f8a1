"""Whole photos as training data: what a window holds, what is cut from it, and trainings on it."""

from dataclasses import replace

import pytest
import torch

from daclip_lab.data.canvases.source import CELL, Canvas, WholePhotos
from daclip_lab.data.canvases.views import (
    draw_views,
    label_shares,
    photo_targets,
    view_targets,
)
from daclip_lab.data.canvases.window import Arrival, Arrivals, PhotoBatch, Window, cut, patches
from daclip_lab.data.image_io import save_image
from daclip_lab.data.pair_files import find_pairs
from daclip_lab.data.photos import Photos, image_folder
from daclip_lab.data.seeding import seeded
from daclip_lab.data.training_pairs import Synthetic
from daclip_lab.errors import InputError
from daclip_lab.models.daclip import DaCLIP
from daclip_lab.training import loop
from daclip_lab.training.objectives import train_daclip
from daclip_lab.training.photos import photo_embeddings
from daclip_lab.training.restoration import train_restorer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Trainings run in float32 on any processor; tests that take `precision` run in both formats."""
    monkeypatch.setattr(loop, "has_bf16", lambda device: False)


@pytest.fixture(scope="module")
def whole(photo_folder):
    """A source with tiny canvases of two sides."""
    crops = Synthetic(photos=image_folder(photo_folder), scene_prob=0.3, clean_prob=0.2)
    crops = replace(crops, second_degradation_prob=0.5)
    return WholePhotos(crops=crops, sides=(48, 64), new=1.5, kept=6)


@pytest.fixture
def pair_folder(tmp_path, photo):
    """One real pair, hazy, of the photo and its half."""
    for kind, image in (("GT", photo), ("LQ", photo / 2)):
        (tmp_path / "hazy" / kind).mkdir(parents=True)
        save_image(image, tmp_path / "hazy" / kind / "one.png")
    return tmp_path


def flat(index, side=64):
    """A canvas whose pixels hold its number, and whose degradation is seen in its left half alone."""
    pixels = torch.full((2, 3, side, side), index, dtype=torch.uint8)
    changes = torch.zeros(2, side // CELL, side // CELL)
    changes[0, :, : side // CELL // 2] = 1.0
    return Canvas(pixels=pixels, labels=("hazy", "noisy"), changes=changes)


def flat_window(source, made, embed=None):
    window = Window(source, CPU, embed)
    for index in range(made):
        side = source.sides[index % len(source.sides)]
        window.add(Arrival(index, index, [flat(index, side)], None))
    return window


# ---- canvases ----


def test_a_canvas_is_a_function_of_seed_and_index(whole):
    one, two = (whole.canvas(3, 5, 64) for _ in range(2))
    assert torch.equal(one.pixels, two.pixels) and one.labels == two.labels
    assert not torch.equal(one.pixels, whole.canvas(3, 6, 64).pixels)
    assert not torch.equal(one.pixels, whole.canvas(4, 5, 64).pixels)


def test_a_canvas_has_one_label_or_two_and_says_where_each_can_be_seen(whole):
    canvases = [whole.canvas(0, index, 64) for index in range(60)]
    assert {len(canvas.labels) for canvas in canvases} == {1, 2}
    for canvas in canvases:
        assert set(canvas.labels) <= set(whole.labels)
        assert canvas.pixels.shape == (2, 3, 64, 64) and canvas.pixels.dtype == torch.uint8
        changed = [plane.any().item() for plane in canvas.changes]
        degraded = canvas.labels != ("clean",)
        assert changed == [degraded, len(canvas.labels) == 2]


def test_the_change_of_a_single_degradation_is_the_difference_of_both_images(whole, monkeypatch):
    monkeypatch.setattr("daclip_lab.data.canvases.source.camera", lambda image, generator: image)
    source = replace(whole, crops=replace(whole.crops, second_degradation_prob=0.0, clean_prob=0.0))
    for index in range(5):
        canvas = source.canvas(0, index, 64)
        clean, degraded = canvas.pixels / 255
        total = (degraded - clean).square().mean()
        assert canvas.changes[0].mean().item() == pytest.approx(total.item(), rel=0.05, abs=2e-5)


def test_real_pairs_are_mixed_in_where_they_are_large_enough(whole, pair_folder, photo):
    pairs = tuple(find_pairs(pair_folder))
    source = replace(whole, pairs=pairs, pair_prob=1.0)
    canvas = source.canvas(0, 0, 64)
    clean, degraded = canvas.pixels / 255
    assert canvas.labels == ("hazy",)
    assert (clean / 2 - degraded).abs().max() < 2 / 255
    windows = photo.unfold(1, 64, 1).unfold(2, 64, 1)
    assert any(
        (windows == image[:, None, None]).all(0).all(-1).all(-1).any()
        for image in (clean, clean.flip(-1))
    )
    assert source.canvas(0, 0, 80).labels  # the pair has 72 rows
    assert replace(source, crops=replace(whole.crops, degradations=("noisy",))).labels == (
        "hazy", "noisy", "clean",
    )  # fmt: skip


@pytest.mark.parametrize("wrong", [{"sides": (40,)}, {"new": 0.0}, {"kept": 1}])
def test_settings_that_make_no_canvases_are_refused(whole, wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        replace(whole, **wrong)


def test_small_photos_are_passed_over(tmp_path, photo):
    save_image(torch.zeros(3, 20, 20), tmp_path / "black.png")
    save_image(photo, tmp_path / "large.png")
    photos = Photos([tmp_path / "black.png", tmp_path / "large.png"])
    assert all(photos.crop(seeded(seed), 72).any() for seed in range(6))
    assert not all(photos.crop(seeded(seed), 20).any() for seed in range(6))


# ---- the window ----


def test_the_window_holds_the_newest_canvases_of_each_side(whole):
    window = flat_window(whole, 11)
    assert [list(window.held(kind)) for kind in (0, 1)] == [[6, 8, 10], [5, 7, 9]]
    for step in range(4):
        drawn = window.draw(step, 40, seeded(step))
        found = set(drawn.pixels[drawn.rows].flatten(1)[:, 0].tolist())
        assert found == set(window.held(step % 2))
        assert drawn.pixels.shape[-1] == whole.sides[step % 2]


def test_a_resumed_window_holds_what_an_uninterrupted_one_does(whole):
    def means(canvases):
        return torch.stack([canvas.pixels[1].float().mean((1, 2)) for canvas in canvases])

    def window_at(step, start):
        arrivals = Arrivals(whole, seed=1, start=start, crops=(2, 0), size=32, captions=False)
        window = Window(whole, CPU, means)
        for place in arrivals.order(20):
            arrival = arrivals[place]
            assert (arrival.crops is None) == (arrival.step < start or arrival.step % 2 == 1)
            window.add(arrival)
            if arrival.step == step:
                return window, arrival

    (one, last), (two, again) = window_at(9, 0), window_at(9, 8)
    for step in (9, 10):
        a, b = (window.draw(step, 12, seeded(2)) for window in (one, two))
        assert torch.equal(a.pixels[a.rows], b.pixels[b.rows]) and a.labels == b.labels
        assert torch.equal(a.changes[a.rows], b.changes[b.rows])
        assert torch.equal(a.embeddings, b.embeddings)
    assert last.step == again.step == 9


def test_crops_of_a_step_are_bytes_and_a_function_of_it(whole):
    def crops(start, rank=0):
        arrivals = Arrivals(
            whole, seed=1, start=start, crops=(2,), size=32, captions=True, rank=rank, processes=2
        )
        return arrivals[arrivals.lead + 5].crops

    assert torch.equal(crops(0).degraded, crops(5).degraded) and crops(0).captions[0]
    assert crops(0).degraded.dtype == torch.uint8
    assert not torch.equal(crops(0).degraded, crops(0, rank=1).degraded)


def test_new_canvases_arrive_at_the_pace_asked_for(whole):
    arrivals = Arrivals(whole, seed=1, start=0, crops=(0,), size=32, captions=False)
    counts = [len(arrivals[place].canvases) for place in range(6)]
    assert counts == [1, 2, 1, 2, 1, 2]


def test_squares_are_cut_where_the_map_says(whole):
    window = flat_window(whole, 8)
    drawn = window.draw(1, 3, seeded(0))
    pixels, changes = cut(drawn, 5, 32, seeded(1))
    assert pixels.shape == (3, 5, 2, 3, 32, 32) and changes.shape == (3, 5, 2)
    numbers = drawn.pixels[drawn.rows][:, 0, 0, 0, 0]
    assert torch.equal(pixels.flatten(2)[..., 0] * 255, numbers[:, None].expand(3, 5).float())
    assert set(changes[..., 0].unique().tolist()) <= {0.0, 0.5, 1.0}
    assert not changes[..., 1].any()


def test_patches_turn_and_mirror_both_images_alike(whole):
    window = Window(whole, CPU)
    window.add(
        Arrival(0, 0, [whole.canvas(0, index, whole.sides[index]) for index in (0, 1)], None)
    )
    drawn = window.draw(1, 1, seeded(0))
    seen = set()
    for seed in range(30):
        clean, degraded = patches(drawn, 64, seeded(seed))
        whole_canvas = drawn.pixels[drawn.rows[0]] / 255
        same = [
            (turns, mirrored)
            for turns in range(4)
            for mirrored in (False, True)
            if torch.equal(_oriented(whole_canvas, turns, mirrored), torch.stack([clean[0], degraded[0]]))
        ]  # fmt: skip
        assert len(same) == 1
        seen.update(same)
    assert len(seen) == 8


def _oriented(image, turns, mirrored):
    image = image.rot90(turns, (-2, -1))
    return image.flip(-1) if mirrored else image


# ---- views ----


def test_a_view_is_asked_for_what_it_shows_and_a_photo_for_both_names():
    order = ("hazy", "noisy", "clean")
    shares = label_shares([("hazy", "noisy"), ("noisy",), ("clean",)], order)
    assert photo_targets(shares).tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    visible = torch.tensor(
        [[[1, 1], [1, 0], [0, 1], [0, 0]], [[1, 0], [0, 0], [1, 1], [0, 1]], [[0, 0]] * 4]
    ).bool()
    assert view_targets(shares, visible, clean=2).tolist() == [
        [[0.5, 0.5, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 1]] * 4,
    ]


def test_views_are_the_resized_whole_and_native_crops(whole):
    batch = PhotoBatch(1, flat_window(whole, 8), None, 1)
    seen = draw_views(batch, photos=3, crops=6, size=32, generator=seeded(0))
    assert seen.clean.shape == seen.degraded.shape == (3, 7, 3, 32, 32)
    assert seen.labels == [("hazy", "noisy")] * 3
    assert not seen.visible[:, 0].any()  # clean and degraded are equal
    assert seen.visible[:, 1:, 0].any() and not seen.visible[:, 1:, 1].any()


def test_the_embeddings_of_a_canvas_are_those_in_use(pipe, whole):
    """With as many crops as fit into a canvas of 64 pixels, those of the pipeline."""
    canvases = [whole.canvas(0, index, 64) for index in range(3)]
    images = [canvas.pixels[1] / 255 for canvas in canvases]
    with torch.no_grad():
        found = photo_embeddings(pipe.daclip, canvases, unnormalized=False)
    for part, wanted in zip(found.unbind(1), pipe.encode(images), strict=True):
        torch.testing.assert_close(part, wanted, atol=1e-5, rtol=0)


# ---- trainings ----


def trainings(scale, randomize, whole):
    def daclip(**options):
        model = randomize(DaCLIP(scale.build_clip(seed=1)))
        return model, train_daclip(model, whole, replace(scale.daclip, steps=5), **options)

    def restorer(**options):
        frozen = randomize(DaCLIP(scale.build_clip(seed=1)))
        model = randomize(scale.build_restorer(seed=1), std=0.02)
        recipe = replace(scale.restorer, steps=5)
        return model, train_restorer(model, frozen, scale.build_sde(), whole, recipe, **options)

    return {"daclip": daclip, "restorer": restorer}


@pytest.mark.parametrize("name", ["daclip", "restorer"])
def test_an_interrupted_training_on_photos_ends_with_the_same_bytes(
    scale, randomize, whole, tmp_path, name, precision
):
    start = trainings(scale, randomize, whole)[name]
    model, steps = start()
    losses = [step.loss for step in steps]
    _, steps = start(run=tmp_path / "run")
    first = [step.loss for _, step in zip(range(3), steps, strict=False)]
    steps.close()
    resumed, steps = start(run=tmp_path / "run", resume=True)
    assert first + [step.loss for step in steps] == losses
    one, two = model.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_training_on_photos_trains_the_pooling_and_leaves_clip_and_its_statistics(
    scale, randomize, whole
):
    model, steps = trainings(scale, randomize, whole)["daclip"]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    metrics = [step.metrics for step in steps][-1]
    assert {"view_loss", "photo_loss", "photo_accuracy", "cosine"} <= set(metrics)
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert not any(name.startswith("clip.") for name in changed)
    assert {"controller.pooling.score", "controller.pooling.whole"} <= changed
    assert any(name.endswith("running_mean") for name in changed)


def test_the_mean_of_statistics_is_kept_as_that_of_weights(scale, randomize, whole):
    model, steps = trainings(scale, randomize, whole)["daclip"]()
    trained = (name for name, _ in model.controller.named_buffers(prefix="controller"))
    name = next(name for name in trained if name.endswith("running_mean"))
    average = model.get_buffer(name).clone()
    for step in steps:
        decay = min(scale.daclip.ema_decay, (1 + step.index) / (10 + step.index))
        latest = model.get_buffer(name).clone()
        average = decay * average + (1 - decay) * latest
    torch.testing.assert_close(model.get_buffer(name), average)
    assert not torch.equal(average, latest)


def test_workers_change_nothing(scale, randomize, whole):
    losses = []
    for workers in (0, 2):
        net, sde = scale.build_restorer(seed=1), scale.build_sde()
        recipe = replace(scale.restorer, steps=3, workers=workers)
        frozen = randomize(DaCLIP(scale.build_clip(seed=1)))
        losses.append([step.loss for step in train_restorer(net, frozen, sde, whole, recipe)])
    assert losses[0] == losses[1]


def test_patches_are_conditioned_on_their_canvas_some_on_another_some_on_none(
    scale, randomize, whole, monkeypatch
):
    """Embeddings that hold a canvas's mean let each patch be traced; a tenth of 200 is 20."""
    flat_canvas = lambda self, seed, index, side: flat(index % 200, side)  # noqa: E731
    monkeypatch.setattr(WholePhotos, "canvas", flat_canvas)

    def number(daclip, canvases, **_):
        values = torch.stack([canvas.pixels[1].float().mean() for canvas in canvases]) + 1
        return values[:, None, None].expand(-1, 2, 32)

    monkeypatch.setattr("daclip_lab.training.restoration.photo_embeddings", number)
    net = scale.build_restorer(seed=1)
    given = []
    prepare, forward = net.prepare, net.forward
    net.prepare = lambda *e: given.append([e[0][:, 0].clone()]) or prepare(*e)
    net.forward = lambda state, degraded, *rest: (
        given[-1].append((degraded * 255).mean((1, 2, 3)) + 1) or forward(state, degraded, *rest)
    )
    recipe = replace(
        scale.restorer, steps=25, batch_size=18, patch_sizes=(48,),
        conditioning_dropout=0.2, wrong_conditioning=0.3, learning_rate=1e-6,
    )  # fmt: skip
    source = replace(whole, kept=60)
    daclip = DaCLIP(scale.build_clip(seed=1))
    list(train_restorer(net, daclip, scale.build_sde(), source, recipe))
    shown, true = (torch.cat(values) for values in zip(*given, strict=True))
    assert len(shown) == 25 * 8
    none, right = shown == 0, (shown - true).abs() < 0.01
    assert 0.1 < none.float().mean() < 0.3
    wrong = ~none & ~right
    assert 0.15 < wrong.float().mean() < 0.33


def test_patches_larger_than_a_canvas_are_refused(scale, whole):
    recipe = replace(scale.restorer, patch_sizes=(64,))
    with pytest.raises(InputError, match=r"patch_sizes=64: wanted at most 48"):
        train_restorer(scale.build_restorer(), None, scale.build_sde(), whole, recipe)


def test_without_daclip_a_restorer_sees_patches_alone(scale, whole):
    recipe = replace(scale.restorer, steps=2)
    steps = train_restorer(scale.build_restorer(), None, scale.build_sde(), whole, recipe)
    assert len([step.loss for step in steps]) == 2


def test_crops_are_the_photos_own_where_a_training_reads_no_photos(scale, whole):
    recipe = replace(scale.daclip, steps=1, photos=0)
    model = DaCLIP(scale.build_clip(seed=1))
    (step,) = train_daclip(model, whole, recipe)
    again = DaCLIP(scale.build_clip(seed=1))
    (plain,) = train_daclip(again, whole.crops, recipe)
    assert step.loss == plain.loss and "photo_loss" not in step.metrics
