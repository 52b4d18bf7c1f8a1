"""What is installed: the files of a wheel, and what works without the extras."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement

import daclip_lab
from daclip_lab.training.devices import has_bf16

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def python(*arguments, cwd, **environment):
    """The output of a Python that sees no environment but `environment`, started in the folder `cwd`."""
    run = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={"PATH": "", "HOME": str(cwd), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


# ---- the wheel ----


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel made from a clean clone, as `pip install` makes it but without a network; `clone` lies beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = ["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), "clone"]
    subprocess.run(clone, cwd=folder, check=True, capture_output=True)
    python("-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=folder / "clone")
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_every_file_of_the_package(wheel):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "daclip_lab"],
        cwd=wheel.parent / "clone",
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    committed = {*listed.split("\0")} - {""}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"daclip_lab-{daclip_lab.__version__}.dist-info/METADATA").decode()
        weights = [
            file.file_size for file in archive.filelist if file.filename.endswith(".safetensors")
        ]
    assert {name for name in names if name.startswith("daclip_lab/")} == committed
    suffixes = {Path(name).suffix for name in names}
    assert suffixes >= {".safetensors", ".json", ".parquet", ".webp", ".js", ".css", ".toml"}
    assert "daclip_lab/py.typed" in names
    assert 0 < sum(weights) <= 24e6
    for path in PROJECT["license-files"]:
        assert any(name.endswith(f".dist-info/licenses/{path}") for name in names)
    assert len(PROJECT["license-files"]) == 2  # of the code and of the weights
    assert f"License-Expression: {PROJECT['license']}" in metadata


def test_an_installed_wheel_works_from_another_folder(wheel, tmp_path):
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    python(
        "-m", "pip", "install", "--no-index", "--no-deps", "--target", target, wheel, cwd=tmp_path
    )
    code = """
import daclip_lab as lab
from daclip_lab.data.embedding_table import shipped
from daclip_lab.widgets import CompareSlider

photo = lab.sample_photos("test")[0]
slider = CompareSlider(photo, photo)
print(lab.__file__, lab.load("lab").classify(photo).idxmax(), len(shipped()) > 0, len(slider.html()))
"""
    home, label, table, size = python("-c", code, cwd=elsewhere, PYTHONPATH=str(target)).split()
    assert Path(home).is_relative_to(target)
    assert label in daclip_lab.LABELS and table == "True" and int(size) > 10_000


# ---- the extras ----


def distributions(*requirements):
    """The names of the distributions that requirements bring, in this environment."""
    found, left = set(), [(Requirement(line), "") for line in requirements]
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        for each in {"", *requirement.extras}:
            if (name, each) not in found:
                found.add((name, each))
                try:
                    left += [(Requirement(line), each) for line in requires(name) or ()]
                except PackageNotFoundError:
                    continue  # for another platform
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def without_extras():
    """The start of a script that runs as if only the dependencies were installed, without any extra."""
    base = distributions(*PROJECT["dependencies"])
    lines = [line for extra in ("analysis", "notebooks") for line in EXTRAS[extra]]
    more = distributions(*(line for line in lines if not line.startswith("daclip-lab"))) - base
    owners = {
        module: {re.sub(r"[-_.]+", "-", name).lower() for name in names}
        for module, names in packages_distributions().items()
    }
    blocked = {module for module, names in owners.items() if names <= more}
    assert blocked >= {
        "matplotlib",
        "sklearn",
        "umap",
        "pyarrow",
        "anywidget",
        "seaborn",
        "skimage",
    }
    assert not blocked & {"torch", "numpy", "pandas", "PIL", "daclip_lab"}
    return f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *place):
        if name.partition(".")[0] not in {blocked!r}:
            return self.finder.find_spec(name, *place)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


def test_the_dependencies_suffice_to_classify_restore_and_train(without_extras, tmp_path):
    code = """
import contextlib
from dataclasses import replace
import daclip_lab as lab
from daclip_lab.cli import main

pipe, photo = lab.load("lab"), lab.sample_photos("test")[0][:, :64, :64]
assert pipe.classify(photo).sum() > 0.99
assert pipe.restore(photo).size == (64, 64)
scale = lab.presets.smoke()
recipes = (replace(recipe, steps=1) for recipe in (scale.daclip, scale.restorer))
source = lab.Synthetic(photos=lab.sample_photos("test"))
daclip = lab.DaCLIP(scale.build_clip())
net = scale.build_restorer()
assert [step.index for step in lab.train_daclip(daclip, source, next(recipes))] == [1]
trained = lab.train_restorer(net, daclip, scale.build_sde(), source, next(recipes))
assert [step.index for step in trained] == [1]
lab.save_image(photo, "photo.png")
assert main(["classify", "photo.png"]) == 0
with contextlib.suppress(SystemExit):
    main(["--help"])
"""
    assert "usage: daclip-lab" in python("-c", without_extras + code, cwd=tmp_path)


NEEDS = {
    "daclip_lab.figures.style.canvas(9, 9).__enter__()": ("matplotlib", "analysis"),
    "daclip_lab.data.embedding_table.shipped()": ("pyarrow", "analysis"),
    "lab.load('lab').embed([photo], out='t.parquet')": ("pyarrow", "analysis"),
    "daclip_lab.embeddings.projection.embedding_map(photo[0, :20])": ("umap", "analysis"),
    "daclip_lab.embeddings.probes.predict_labels([], [], [])": ("sklearn", "analysis"),
    "daclip_lab.ablation.power.detectable(daclip_lab.ablation.study.Spread(seeds=1, photos=1), 5, 9, 1)": (
        "scipy",
        "analysis",
    ),
    "lab.sample_photos('train')": ("scikit-image", "analysis"),
    "daclip_lab.widgets.CompareSlider(photo, photo)": ("anywidget", "notebooks"),
}


def test_what_needs_an_extra_names_it(without_extras, tmp_path):
    code = f"""
import daclip_lab as lab
import daclip_lab.ablation.power, daclip_lab.ablation.study
import daclip_lab.data.embedding_table, daclip_lab.embeddings.probes
import daclip_lab.embeddings.projection, daclip_lab.figures.style, daclip_lab.widgets

photo = lab.sample_photos("test")[0]
for call in {list(NEEDS)}:
    try:
        print(eval(call))
    except lab.InputError as error:
        print(error)
"""
    messages = python("-c", without_extras + code, cwd=tmp_path).splitlines()
    for (call, (package, extra)), message in zip(NEEDS.items(), messages, strict=True):
        assert package in message and f"pip install 'daclip-lab[{extra}]'" in message, call
    assert not list(tmp_path.iterdir())


# ---- the requirements ----


def test_conda_installs_what_pyproject_says():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    assert f"python{PROJECT['requires-python']}" in environment
    lowest = PROJECT["requires-python"].removeprefix(">=")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"Python {lowest} or newer" in makefile and f"({lowest.replace('.', ', ')})" in makefile
    assert {"pip": ["-e .[dev]"]} in environment


def test_dev_installs_all_extras():
    assert (
        "daclip-lab[notebooks]" in EXTRAS["dev"] and "daclip-lab[analysis]" in EXTRAS["notebooks"]
    )


def test_older_versions_of_torch_do_not_report_what_the_processor_has(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bf16(torch.device("cpu"))
