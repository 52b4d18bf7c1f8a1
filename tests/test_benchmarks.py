"""The benchmarks run at toy sizes, compare equal things, and measure the process that they mean to measure."""

import time

import pandas as pd
import pytest
import torch

from benchmarks import (
    former_restorer,
    full_images,
    inference,
    network,
    real_photos,
    tradeoff,
    training,
)
from benchmarks.__main__ import main
from benchmarks.isolated_process import peak, resident
from benchmarks.naive_baseline import NaiveUNet, RecomputedConditions, matrix_gigabytes
from daclip_lab.commands.training_data import source_of
from daclip_lab.data.image_io import read_image, save_image
from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
from daclip_lab.degradations.registry import DEGRADATIONS
from daclip_lab.metrics.image_quality import psnr
from daclip_lab.models.unet import ConditionalUNet


@pytest.fixture
def here(monkeypatch):
    """Sides run in this process: starting one takes seconds."""
    predicted = []

    def run_isolated(function, **arguments):
        predicted.append(arguments["side"])
        module, name = function.split(".")
        side = getattr({"network": network, "full_images": full_images}[module], name)
        return side(**arguments) | {"peak": peak()}

    monkeypatch.setattr(network, "run_isolated", run_isolated)
    monkeypatch.setattr(full_images, "run_isolated", run_isolated)
    return predicted


def test_the_naive_network_gives_the_same_output(randomize):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = randomize(ConditionalUNet(channels=32, multipliers=(1, 2), embed_dim=16)).eval()
    content, degradation = torch.randn(2, 2, 16, generator=seeded(1))
    state, degraded = torch.rand(2, 2, 3, 24, 40, generator=seeded(2))
    t = torch.tensor([3, 90])
    with torch.no_grad():
        ours = net(state, degraded, t, net.prepare(content, degradation))
        again = RecomputedConditions(net)
        torch.testing.assert_close(
            again(state, degraded, t, again.prepare(content, degradation)), ours
        )
        written = NaiveUNet(net)  # takes the network over
        theirs = written(state, degraded, t, written.prepare(content, degradation))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_matrices_grow_with_the_square_of_the_pixels():
    assert matrix_gigabytes(1024) == pytest.approx(17.18, abs=0.01)
    assert matrix_gigabytes(2048) == 16 * matrix_gigabytes(1024)
    assert not network.fits(8192)


def test_the_network_table_has_a_row_per_side(here):
    table = network.table(network.TOY, bf16=True, compiled=False)
    sides = list(table.loc[48].index)
    assert sides == here == ["naive", "ours", "ours, bf16", "ours, tiles"]
    found = table.loc[48]
    assert found.loc["ours", "difference"] < 1e-4
    assert found.loc["ours, bf16", "difference"] < 0.1
    assert (found["seconds"] > 0).all() and (found["peak (GB)"] > 0.1).all()


def test_what_does_not_fit_is_said_by_arithmetic(here, monkeypatch):
    monkeypatch.setattr(network, "fits", lambda size: False)
    table = network.table(network.TOY, bf16=False, compiled=False)
    assert "naive" not in here
    assert "attention matrix" in table.loc[(48, "naive"), "note"]
    assert table.loc[(48, "ours"), "difference"] == 0


def test_both_sides_restore_the_same_photo(here, weights):
    table = full_images.table(str(weights), toy=True)
    assert here == ["naive", "ours"]
    assert table.calls.to_dict() == {"naive": 4, "ours": 2}
    assert table["PSNR before (dB)"].nunique() == 1
    assert table["times faster"]["naive"] == 1


def test_a_side_runs_in_a_process_of_its_own(capfd, tmp_path):
    from benchmarks.isolated_process import run_isolated

    large = torch.ones(150_000_000)  # 0.6 GB here are none of its business
    settings = network.TOY
    found = run_isolated(
        "network.call",
        side="ours",
        size=48,
        network=settings["network"],
        tile=64,
        output=str(tmp_path / "a.npy"),
    )
    assert peak() > 0.6 and large[0] == 1
    assert 0 < found["weights"] <= found["peak"] < resident()


def test_the_tradeoff_is_a_row_per_setting_and_a_figure(weights, tmp_path, capsys):
    main(
        [
            "tradeoff",
            "training",
            "receptive_field",
            "--toy",
            "--weights",
            str(weights),
            "--out",
            str(tmp_path),
        ]
    )
    printed = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "tradeoff.csv", index_col=0, keep_default_na=False)
    assert len(table) == 1 + (4 * 2 + 1) * 3
    assert {"PSNR (dB)", "SSIM", "MS-SSIM", "gradient similarity"} <= set(table.columns)
    assert (table["sliced Wasserstein"] > 0).all() and (table["RMSE (of 255)"] > 0).all()
    for name in ("tradeoff", "perception_distortion"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert "training pixels per second" in printed and "Quality against steps" in printed
    seen = pd.read_csv(tmp_path / "receptive_field.csv", index_col=0)["largest difference"]
    assert list(seen.index) == [0, 8, 16] and seen[0] > seen[16]


def test_photos_that_cannot_be_cropped_are_refused(tmp_path, weights, capsys):
    from daclip_lab.data.image_io import save_image

    save_image(torch.zeros(3, 40, 300), tmp_path / "narrow.png")
    with pytest.raises(SystemExit) as ended:
        main(
            ["tradeoff", "--weights", str(weights), "--data", str(tmp_path), "--out", str(tmp_path)]
        )
    assert ended.value.code == 2
    assert "narrow.png" in capsys.readouterr().err


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["speed"])
    assert ended.value.code == 2
    assert "'speed'" in capsys.readouterr().err


def test_trainings_run_in_turn_until_each_is_done(monkeypatch):
    clock, order = [0.0], []

    def run(name, steps):
        for _ in range(steps):
            clock[0] += 1.0
            order.append(name)
            yield

    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])
    trainings = {"a": run("a", 3), "b": run("b", 5)}
    assert training.in_turn(trainings, 1.5) == {"a": 3.0, "b": 5.0}
    assert order == ["a", "a", "b", "b", "a", "b", "b", "b"]


def test_ready_images_are_those_of_the_source(scale):
    source = source_of(["bundled"], scale)
    ready = training.ready(source, 32)
    side = source.sides[0]
    assert torch.equal(ready.canvas(1, 5, side).pixels, source.canvas(0, side, side).pixels)
    assert ready.draw(seeded(0), 32).clean.shape == (3, 32, 32)
    assert ready.labels == source.labels


def test_the_former_network_computes_the_same(scale, randomize):
    """In float32; in bfloat16 its normalisations return float32."""
    ours = randomize(scale.build_restorer())
    theirs = former_restorer.network(scale.network, scale.clip.embed_dim)
    theirs.load_state_dict(ours.state_dict())
    embeddings = torch.randn(2, 2, scale.clip.embed_dim, generator=seeded(1))
    state, degraded = torch.rand(2, 2, 3, 32, 32, generator=seeded(2))
    t = torch.tensor([3, 90])
    ours, theirs = (net(state, degraded, t, net.prepare(*embeddings)) for net in (ours, theirs))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_crops_show_every_degradation():
    clean, degraded = tradeoff.crops(48, 3)
    assert clean.shape == degraded.shape == (3 * len(sample_photos("test")), 3, 48, 48)
    assert all(not torch.equal(a, b) for a, b in zip(clean, degraded, strict=True))


def test_stages_are_counted_once_and_add_up(weights):
    table = inference.table(str(weights), toy=True)
    for operation in ("classify", "restore"):
        stages = table.loc[operation].drop(inference.FIRST, errors="ignore")
        for threads in ("1 thread", "2 threads"):
            seconds = stages[f"seconds, {threads}"]
            assert (seconds >= 0).all()
            assert seconds.drop("total").sum() == pytest.approx(seconds["total"])
            assert stages[f"share, {threads}"].drop("total").sum() == pytest.approx(1)
    assert "CLIP, blocks" not in table.loc["classify"].index  # the frozen tower does not run
    assert table.loc[("restore", "restorer, decoder"), "share, 1 thread"] > 0


def test_a_stage_does_not_count_those_inside_it():
    clock = inference.Stopwatch()
    clock.wrapped("outer", lambda: clock.wrapped("inner", lambda: time.sleep(0.05))())()
    assert clock.seconds["inner"] >= 0.05 > clock.seconds["outer"]


@pytest.fixture
def real_folder(tmp_path, photo):
    """Two pairs of haze and a broken file, a nearly clean noisy pair, and drops without a ground truth."""
    folder = tmp_path / "real"
    for place in ("hazy/LQ", "hazy/GT", "noisy_polyu/LQ", "noisy_polyu/GT", "raindrop_unpaired/LQ"):
        (folder / place).mkdir(parents=True)
    for name, shift in (("a", 0.1), ("b", 0.4)):
        save_image(photo, folder / "hazy/GT" / f"{name}.png")
        save_image((1 - shift) * photo + shift, folder / "hazy/LQ" / f"{name}.png")
    save_image(photo, folder / "hazy/GT" / "c.png")
    (folder / "hazy/LQ" / "c.png").write_bytes(b"broken")
    for place in ("noisy_polyu/LQ", "noisy_polyu/GT", "raindrop_unpaired/LQ"):
        save_image(photo, folder / place / "d.png")
    return folder


def test_real_pictures_are_measured_and_shown(real_folder, weights, pipe, photo, tmp_path, capsys):
    page = tmp_path / "page.html"
    main(["real", str(real_folder), "--weights", str(weights), "--page", str(page)])
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert [line.split(":")[0] for line in lines if "images" in line] == [
        "hazy", "noisy_polyu", "raindrop_unpaired", "all",
    ]  # fmt: skip
    assert "c.png" in lines[0] and "2 images" in lines[1] and "4 images" in lines[-1]
    assert "dB" not in lines[3]  # nothing to compare with
    text = page.read_text()
    assert text.count("<section>") == 4 and text.count('src="data:image/webp') == 3 * 3 + 2
    assert 'src="http' not in text
    found = {
        row.file: row for row, _ in real_photos.restored_pictures(pipe, real_folder / "hazy", 3)
    }
    degraded = read_image(real_folder / "hazy/LQ/b.png")
    after = psnr(pipe.restore(degraded, output_type="pt")[None], photo[None]).item()
    assert found["b.png"].psnr_input == pytest.approx(psnr(degraded[None], photo[None]).item())
    assert found["b.png"].gain == pytest.approx(after - found["b.png"].psnr_input, abs=1e-3)
    assert found["b.png"].first in DEGRADATIONS


def test_a_mildly_noisy_picture_may_be_called_clean(real_folder, pipe, monkeypatch):
    certain = torch.eye(len(pipe.settings.labels))[[pipe.settings.labels.index("clean")]]
    monkeypatch.setattr(pipe, "probabilities", lambda embedding: certain)
    for name, right in (("noisy_polyu", True), ("hazy", False)):
        (real_folder / "hazy/LQ/c.png").unlink(missing_ok=True)
        (real_folder / "hazy/GT/c.png").unlink(missing_ok=True)
        rows = [row for row, _ in real_photos.restored_pictures(pipe, real_folder / name, None)]
        assert {row.right for row in rows} == {right}


def test_exposure_is_fitted_in_low_light_alone(photo):
    dark = 0.25 * photo
    assert real_photos.similarity(dark, photo, "low-light") == pytest.approx(60)
    assert real_photos.similarity(dark, photo, "hazy") == psnr(dark[None], photo[None]).item()
    assert pd.isna(real_photos.similarity(dark, None, "low-light"))


def test_the_best_and_the_worst_are_shown_first():
    table = pd.DataFrame({"file": [*"abcd"], "gain": [1.0, -2, 5, 3], "right": True})
    assert real_photos.shown_order(table) == ["c", "b", "d", "a"]
    assert real_photos.shown_order(table[:1]) == ["a"]
    table = table.assign(gain=float("nan"), right=[True, False, True, True])
    assert real_photos.shown_order(table) == ["b", "a", "c", "d"]


def test_a_folder_of_another_layout_is_refused(tmp_path, capsys):
    (tmp_path / "sunny" / "LQ").mkdir(parents=True)
    for folder, named in ((tmp_path, "sunny"), (tmp_path / "sunny", "LQ")):
        with pytest.raises(SystemExit) as ended:
            main(["real", str(folder)])
        assert ended.value.code == 2
        assert named in capsys.readouterr().err
