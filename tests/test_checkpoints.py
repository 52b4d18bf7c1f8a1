"""What is written is whole or not there at all; what is read back wrongly is named."""

import json
import os

import pytest
import torch
from torch import nn

from daclip_lab.errors import InputError
from daclip_lab.files.storage import read_json, write_json, write_text
from daclip_lab.training import checkpoints
from daclip_lab.training.checkpoints import (
    load_state,
    load_weights,
    read_tensors,
    save_state,
    saved_step,
    strip_prefixes,
    write_tensors,
)

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.tensor(3)}


def refusal(call, *args):
    with pytest.raises(InputError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read(tmp_path):
    write_tensors(tmp_path / "new" / "x.safetensors", TENSORS)
    found = read_tensors(tmp_path / "new" / "x.safetensors")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())
    write_json(tmp_path / "x.json", {"a": [1, 2.5, None], "b": "text"})
    assert read_json(tmp_path / "x.json") == {"a": [1, 2.5, None], "b": "text"}
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["x.json", "x.safetensors"]


def test_any_layout_in_memory_is_written(tmp_path):
    tensors = {
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    found = read_tensors(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("kind", ["text", "json", "tensors"])
@pytest.mark.parametrize("failure", ["while writing", "while renaming"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, kind, failure
):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write, content = {
        "text": (write_text, "new"),
        "json": (write_json, {"new": 1}),
        "tensors": (write_tensors, TENSORS),
    }[kind]

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    def half(target, *args, **kwargs):
        with open(target, "wb") as file:
            file.write(b"ne")
        full()

    if failure == "while renaming":
        monkeypatch.setattr(os, "replace", full)
    else:
        monkeypatch.setattr("pathlib.Path.write_text", half)
        monkeypatch.setattr(checkpoints, "save_file", lambda _, target: half(target))
    with pytest.raises(InputError, match="No space left"):
        write(path, content)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_missing_and_broken_files_are_named(tmp_path):
    for read, name in ((read_json, "x.json"), (read_tensors, "x.safetensors")):
        path = tmp_path / name
        assert f"{path} does not exist" in refusal(read, path)
        for content in (b"", b"{", b"\xff\xfe\x00", b"\x08\x00\x00\x00\x00\x00\x00\x00{}"):
            path.write_bytes(content)
            assert str(path) in refusal(read, path)


def test_truncated_tensors_are_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:-5])
    assert str(path) in refusal(read_tensors, path)


# ---- weights ----


def test_weights_go_into_a_module_in_its_own_type():
    linear = nn.Linear(2, 3)
    values = {"weight": torch.ones(3, 2).half(), "bias": torch.zeros(3).half()}
    load_weights(linear, values, "w")
    assert torch.equal(linear.weight, torch.ones(3, 2))
    assert linear.weight.dtype == torch.float32


def test_weights_that_do_not_match_are_listed_and_change_nothing():
    linear = nn.Linear(2, 3)
    before = linear.weight.detach().clone()
    message = refusal(
        load_weights, linear, {"weight": torch.ones(3, 4), "extra": torch.ones(1)}, "w.x"
    )
    assert message == (
        "w.x does not match the model: missing bias; unexpected extra; weight is (3, 4), wanted (3, 2)"
    )
    assert torch.equal(linear.weight, before)


def test_a_long_list_of_faults_is_cut_short():
    message = refusal(load_weights, nn.Sequential(*[nn.Linear(2, 2) for _ in range(8)]), {}, "w")
    assert message.count("missing") == 5
    assert message.endswith("and 11 more")


# ---- states of trainings ----


def training(seed=0, steps=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(3, 2)
    weights = dict(linear.named_parameters())
    optimizer = torch.optim.AdamW(linear.parameters(), lr=0.1)
    for i in range(steps):
        optimizer.zero_grad()
        linear(torch.full((1, 3), i + 1.0)).sum().backward()
        optimizer.step()
    return weights, {name: p.detach() * 2 for name, p in weights.items()}, optimizer


def test_a_state_comes_back_whole(tmp_path):
    weights, average, optimizer = training()
    save_state(tmp_path / "run", {"steps": 9, "betas": (0.9, 0.98)}, weights, average, optimizer, 3)
    other = training(seed=1, steps=0)
    assert load_state(tmp_path / "run", {"steps": 9, "betas": (0.9, 0.98)}, *other) == 3
    for name, p in weights.items():
        assert torch.equal(p, other[0][name])
        assert torch.equal(average[name], other[1][name])
        for key, value in optimizer.state[p].items():
            assert torch.equal(value, other[2].state[other[0][name]][key]), key


def test_a_state_of_another_recipe_is_refused_with_the_field_named(tmp_path):
    state = training()
    save_state(tmp_path, {"steps": 9, "seed": 1, "workers": 1}, *state, 3)
    message = refusal(load_state, tmp_path, {"steps": 9, "seed": 2, "workers": 1}, *state)
    assert "seed=1 there and 2 here" in message
    assert "steps" not in message
    assert load_state(tmp_path, {"steps": 9, "seed": 1, "workers": 4}, *state) == 3


def test_a_state_of_another_model_is_refused_and_changes_nothing(tmp_path):
    recipe = {"steps": 1}
    save_state(tmp_path, recipe, *training(), 1)
    weights, average, optimizer = training(seed=1)
    renamed = {f"x.{name}": p for name, p in weights.items()}
    assert "missing x.weight" in refusal(load_state, tmp_path, recipe, renamed, average, optimizer)
    before = weights["weight"].detach().clone()
    reshaped = {**weights, "bias": nn.Parameter(torch.zeros(5))}
    message = refusal(load_state, tmp_path, recipe, reshaped, average, optimizer)
    assert "wanted (5,)" in message
    assert torch.equal(weights["weight"], before)


def test_a_folder_without_a_state_is_refused_and_not_made(tmp_path):
    assert "does not exist" in refusal(load_state, tmp_path / "none", {}, *training())
    assert not (tmp_path / "none").exists()


def test_json_is_readable_by_a_person(tmp_path):
    write_json(tmp_path / "x.json", {"a": {"b": 1}})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"a": {"b": 1}}
    assert text.count("\n") == 5


# ---- names ----


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {f"_orig_mod.{name}": value for name, value in weights.items()},
        lambda weights: {f"_orig_mod.module.{name}": value for name, value in weights.items()},
        lambda weights: {"params_ema": weights, "params": {}},
        lambda weights: {"params": weights},
        lambda weights: {"state_dict": {f"module.{n}": v for n, v in weights.items()}, "epoch": 3},
    ],
)
def test_wrapped_weights_are_read_under_their_own_names(wrap):
    weights = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).state_dict()
    assert strip_prefixes(wrap(weights)).keys() == weights.keys()
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    load_weights(net, wrap(weights), "file")
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


def test_a_compiled_network_is_written_and_read_as_if_it_were_not(tmp_path):
    plain, whole = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3))
    inside = nn.Sequential(torch.compile(nn.Linear(2, 3)))
    for net in (torch.compile(whole), inside):
        write_tensors(tmp_path / "w.safetensors", net.state_dict())
        tensors = read_tensors(tmp_path / "w.safetensors")
        assert tensors.keys() == plain.state_dict().keys()
        load_weights(plain, tensors, "file")
        load_weights(net, plain.state_dict(), "file")
        assert torch.equal(plain[0].weight, tensors["0.weight"])


def test_a_layer_that_is_called_module_keeps_its_name():
    assert strip_prefixes({"body.module.weight": 1}) == {"body.module.weight": 1}


def test_the_step_of_a_checkpoint_is_read_from_its_file(tmp_path):
    assert saved_step(tmp_path) is None
    model = nn.Linear(2, 1)
    weights = dict(model.named_parameters())
    average = {name: value.detach().clone() for name, value in weights.items()}
    save_state(tmp_path, {}, weights, average, torch.optim.AdamW(model.parameters()), 7)
    assert saved_step(tmp_path) == 7
    (tmp_path / "state.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"state\.safetensors"):
        saved_step(tmp_path)
