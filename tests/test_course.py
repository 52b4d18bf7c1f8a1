"""The exercises: every solution that a notebook folds away passes its checker, every typical wrong answer does not."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from build import read_source
from daclip_lab.course import check, settings
from daclip_lab.course.answers import choice, names, number, tensor
from daclip_lab.course.registry import exercise, find, ids, judge, notebooks
from daclip_lab.errors import InputError
from daclip_lab.training import presets

SOURCES = sorted((Path(__file__).parents[1] / "notebooks" / "src").glob("*.py"))
# A fold with code in it; one that only explains is left out, up to its own end.
FOLDED = re.compile(r"<details>(?:(?!</details>).)*?```python\n(.*?)```.*?</details>", re.DOTALL)


def predicted(code):
    """The ids of the `check` calls in a piece of code."""
    return [
        node.args[0].value
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"
    ]


class Lesson:
    """What a notebook's source says about its exercises."""

    def __init__(self, path):
        cells = read_source(path).cells
        self.code = [cell.source for cell in cells if cell.cell_type == "code"]
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        self.solutions = FOLDED.findall(text)

    def namespace(self):
        """The notebook's imports and definitions, without running the rest of it."""
        space = {}
        for code in self.code:
            code = re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE)
            for node in ast.parse(code).body:
                if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
                    exec(compile(ast.Module([node], []), "notebook", "exec"), space)
        return space


LESSONS = {path.stem[:2]: Lesson(path) for path in SOURCES}
SOLUTIONS = {
    id: code for lesson in LESSONS.values() for code in lesson.solutions for id in predicted(code)
}
EXERCISES = [id for notebook in notebooks() for id in ids(notebook)]


# ---- every notebook's exercises ----


@pytest.mark.parametrize("notebook", LESSONS)
def test_every_exercise_has_a_cell_a_solution_and_a_checker(notebook):
    lesson = LESSONS[notebook]
    asked = [id for code in lesson.code for id in predicted(code)]
    solved = [id for code in lesson.solutions for id in predicted(code)]
    checked = ids(notebook) if notebook in notebooks() else []
    assert asked == solved == checked
    assert asked == [f"{notebook}.{k + 1}" for k in range(len(asked))]


@pytest.mark.parametrize("id", SOLUTIONS)
def test_the_folded_solution_is_right(id, capsys):
    answers = []
    space = LESSONS[id[:2]].namespace()
    space["check"] = lambda *pair: answers.append(pair)
    exec(SOLUTIONS[id], space)
    ((named, answer),) = answers
    assert named == id
    assert judge(id, answer) is None
    check(id, answer)
    assert capsys.readouterr().out.endswith(f"{id}: right.\n")


@pytest.mark.parametrize("id", EXERCISES)
def test_typical_wrong_answers_are_refused_in_one_line(id):
    wrong = find(id).wrong
    assert wrong
    for answer in wrong:
        complaint = judge(id, answer)
        assert complaint and "\n" not in complaint and complaint[-1] in ".?!", answer


# ---- how much the notebooks compute ----


@pytest.mark.parametrize("name", ["smoke", "lab"])
def test_the_controller_learns_the_degradation_first_and_then_the_content_more_gently(name):
    first, second = settings.controller_training(presets.named(name))
    assert (first.train_content, second.train_content) == (False, True)
    assert second.learning_rate < first.learning_rate
    assert second.seed != first.seed
    assert first.steps + second.steps <= {"smoke": 10, "lab": 1000}[name]


# ---- the checker itself ----


@pytest.fixture
def lesson(monkeypatch):
    """Two exercises of a notebook 00 that there is for a test."""
    monkeypatch.setattr("daclip_lab.course.registry.notebooks", lambda: ["00"])
    monkeypatch.setattr("daclip_lab.course.registry.import_module", lambda name: None)
    monkeypatch.setattr("daclip_lab.course.registry._EXERCISES", {})

    @exercise("00.1", wrong=[3])
    def half(answer):
        return number(answer, 0.5, within=1e-6, hint="Think of two.")

    @exercise("00.2", wrong=[])
    def double(answer):
        return number(answer(4), 8, within=0, hint="Twice.")


def test_check_says_right_wrong_or_your_turn(lesson, capsys):
    for id, answer in [("00.1", 0.5), ("00.1", 3), ("00.1", ...), ("00.2", lambda x: None)]:
        assert check(id, answer) is None
    assert capsys.readouterr().out.splitlines() == [
        "00.1: right.",
        "00.1: not yet. 3 is not it. Think of two.",
        "00.1: your turn.",
        "00.2: your turn.",
    ]


def test_what_an_answer_raises_is_shown_in_one_line(lesson, capsys):
    def broken(x):
        raise ValueError("two\nlines")

    check("00.2", broken)
    assert capsys.readouterr().out == "00.2: not yet. It raised ValueError: two lines.\n"
    check("00.2", lambda: 1)
    assert "TypeError" in capsys.readouterr().out


def test_an_unknown_exercise_is_refused_with_those_that_there_are(lesson):
    with pytest.raises(InputError, match=r"use one of 00\.1, 00\.2"):
        check("00.9", 1)
    with pytest.raises(InputError, match="notebooks 00"):
        check("77.1", 1)
    with pytest.raises(InputError):
        check(3, 1)


@pytest.mark.parametrize(
    "answer", [0.25, np.float32(0.25), np.array(0.25), torch.tensor(0.25), torch.tensor([0.25])]
)
def test_a_number_may_come_in_any_form(answer):
    assert number(answer, 0.25, within=1e-9, hint="") is None


@pytest.mark.parametrize("answer", ["0.25", [1, 2], torch.zeros(2), float("nan"), None, 0.26])
def test_what_is_no_number_or_another_is_refused(answer):
    assert number(answer, 0.25, within=1e-3, hint="Hint.")


def test_tensors_are_compared_by_shape_then_by_value():
    right = torch.arange(4.0)
    assert tensor(right.numpy(), right, within=0, hint="") is None
    assert "shape (4,), not (2, 2)" in tensor(right.view(2, 2), right, within=0, hint="")
    assert "25% of values" in tensor(torch.tensor([0.0, 1, 2, 9]), right, within=0, hint="")
    assert "All values" in tensor(right + 1, right, within=0.5, hint="")
    assert "finite" in tensor(right / 0, right, within=0, hint="")
    assert "a list" in tensor([1], right, within=0, hint="")


def test_names_are_compared_in_any_order_and_case():
    among = ["noisy", "hazy", "rainy"]
    assert names(["Hazy", "noisy "], {"noisy", "hazy"}, among=among, hint="") is None
    assert choice("hazy", "hazy", among=among, hint="") is None
    assert (
        names(["hazy"], ["noisy", "hazy"], among=among, hint="One more.") == "hazy: no. One more."
    )
    assert choice("foggy", "hazy", among=among, hint="") == "'foggy' is none of noisy, hazy, rainy."
    assert "Wanted names" in names(3, ["hazy"], among=among, hint="")


def test_no_complaint_of_the_helpers_holds_the_right_value():
    for value in (0.123, 45.5):
        said = number(1.0, value, within=0, hint="") + tensor(
            torch.ones(2), torch.full((2,), value), within=0, hint=""
        )
        assert str(value) not in said
    assert "rainy" not in names(["hazy"], ["rainy"], among=["hazy", "rainy"], hint="")
