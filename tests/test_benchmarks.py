"""The benchmarks run at toy sizes, compare equal things, and measure the process that they mean to measure."""

import pandas as pd
import pytest
import torch

from benchmarks import ablations, full_images, network, tradeoff, training
from benchmarks.__main__ import main
from benchmarks.isolated_process import peak, resident
from benchmarks.naive_baseline import NaiveUNet, RecomputedConditions, matrix_gigabytes
from daclip_lab.data.photos import sample_photos
from daclip_lab.data.seeding import seeded
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
    assert (tmp_path / "tradeoff.png").read_bytes()[:4] == b"\x89PNG"
    assert "pairs consumed per second" in printed and "Quality against steps" in printed
    seen = pd.read_csv(tmp_path / "receptive_field.csv", index_col=0)["largest difference"]
    assert list(seen.index) == [0, 8, 16] and seen[0] > seen[16]


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["speed"])
    assert ended.value.code == 2
    assert "'speed'" in capsys.readouterr().err


def test_both_rates_of_a_training_are_measured():
    rates = training.table(toy=True)
    assert (rates > 0).all()
    made, consumed, processes = rates
    assert processes == pytest.approx(consumed / made)


def test_crops_show_every_degradation():
    clean, degraded = tradeoff.crops(48, 3)
    assert clean.shape == degraded.shape == (3 * len(sample_photos("test")), 3, 48, 48)
    assert all(not torch.equal(a, b) for a, b in zip(clean, degraded, strict=True))


def test_variants_are_compared_with_the_lab_over_seeds_and_photos():
    def run(accuracy, worst):
        return {"scores": {"accuracy": accuracy, "worst": worst}, "photos": ["a", "a", "b", "b"]}

    nan = float("nan")
    runs = {
        ("the lab", 0): run([1, 0, 1, 0], [nan, 2, nan, 4]),
        ("the lab", 1): run([1, 1, 1, 0], [1, nan, 3, nan]),
        ("other", 0): run([0, 0, 0, 0], [nan, 1, nan, 1]),
        ("other", 1): run([1, 0, 1, 0], [0, nan, 2, nan]),
    }
    table = ablations.compare(runs)
    other = table.loc[("accuracy", "other")]
    assert other["mean"] == 0.25
    assert other["difference"] == -0.375
    assert other["photos low"] == -0.5 and other["photos high"] == -0.25
    assert table.loc[("worst", "other"), "difference"] == -1.5
    assert pd.isna(table.loc[("worst", "other"), "photos low"])


def test_a_variant_is_trained_once_and_kept(tmp_path, photo, monkeypatch, capsys):
    from daclip_lab.data.image_io import save_image

    for number in range(10):
        (tmp_path / "photos").mkdir(exist_ok=True)
        save_image(photo.roll(number, -1), tmp_path / "photos" / f"{number}.png")
    few = {
        ablations.LAB: ablations.Variant(),
        "no harm penalty": ablations.Variant(recipe={"harm_penalty": 0.0}),
    }
    monkeypatch.setattr(ablations, "VARIANTS", {"restorer": few})
    call = ["--toy", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "runs")]
    ablations.main(call)
    printed = capsys.readouterr().out
    assert "gain, unconditioned" in printed and "no harm penalty" in printed
    monkeypatch.setattr(ablations, "run", None)
    ablations.main(call)
    assert capsys.readouterr().out == printed
