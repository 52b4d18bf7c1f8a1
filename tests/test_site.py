"""The site: the course and the reference as pages that load nothing from elsewhere, equations and sliders included."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "site"))

import make
import pages
import reference

from daclip_lab.widgets import CompareSlider

ROOT = Path(__file__).resolve().parents[1]
LOADING = {"src", "srcset", "data", "poster", "background", "action"}  # and href, but for <a>


class Scan(HTMLParser):
    """Everything that a page would load, the text of its styles, and its ids and links."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.links, self.ids, self.tags, self.styles = [], [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "style":
                self.styles += value
            if name == "id":
                self.ids.append(value)
            if name in LOADING or (name.endswith("href") and tag != "a"):
                self.loads.append(value)
            if tag == "a" and name == "href":
                self.links.append(value)

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "style":
            self.styles += data


def loaded_by_style(css):
    return re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", css)


def outside(address):
    return not re.match(r"data:|#|[\w.]+(#.*)?$", address)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A folder with one executed notebook that has an equation, code, a picture, a slider and a folded solution."""
    folder = tmp_path_factory.mktemp("notebooks")
    slider = CompareSlider(*tiles()).html()
    cells = [
        nbformat.v4.new_markdown_cell("# 00 · A lesson\n\n**It claims $x_t < 1$.**"),
        nbformat.v4.new_markdown_cell(
            "$$\\begin{aligned} a &= \\tfrac{b}{c} \\\\ d &= e \\end{aligned}$$\n\nNext is [01](01_next.ipynb)."
        ),
        nbformat.v4.new_markdown_cell(
            "<details><summary>Solution</summary>\n\n```python\n1 < 2\n```\n\n</details>"
        ),
        nbformat.v4.new_code_cell(
            "CompareSlider(a, b)",
            outputs=[nbformat.v4.new_output("display_data", {"text/html": slider})],
        ),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "00_lesson.ipynb")
    return folder


def tiles():
    from PIL import Image

    return [Image.new("RGB", (16, 12), colour) for colour in ("red", "blue")]


@pytest.fixture(scope="module")
def site(notebook, tmp_path_factory):
    """The whole site: that notebook, and the reference of the library."""
    out = tmp_path_factory.mktemp("out") / "site"
    assert make.main(notebook, ROOT / "daclip_lab", out) is None
    return out


# ---- nothing from elsewhere ----


def test_no_page_loads_a_script_a_style_or_a_font_from_elsewhere(site):
    for path in site.glob("*.html"):
        scan = Scan(path.read_text("utf-8"))
        loads = scan.loads + loaded_by_style(scan.styles)
        assert not [load for load in loads if outside(load)], path.name
        assert not [
            load for load in loads if load == load.split(":")[0] and not (site / load).is_file()
        ]
        code = re.findall(r"<script.*?</script>", path.read_text("utf-8"), re.DOTALL)
        assert not [script for script in code if re.search(r"https?://|import\(", script)]
    styles = loaded_by_style((site / "style.css").read_text("utf-8"))
    assert styles == ["math.woff", "script.woff"]
    assert all((site / name).is_file() for name in styles)


def test_the_test_would_find_what_is_loaded_from_elsewhere():
    scan = Scan(
        '<link href="https://a.org/x.css"><script src="//b.org/y.js"></script><img src="../z.png">'
        "<style>@import 'http://c.org/w.css'; p { background: url(http://d.org/v) }</style>"
    )
    found = scan.loads + loaded_by_style(scan.styles)
    assert len(found) == 5 and all(outside(each) for each in found)
    assert not outside("style.css") and not outside("data:image/png;base64,AA")


def test_links_between_pages_lead_somewhere(site):
    found = {path.name: Scan(path.read_text("utf-8")) for path in site.glob("*.html")}
    for name, scan in found.items():
        for link in scan.links:
            if re.match(r"https?:", link) or link == "01_next.html":
                continue
            page, _, place = link.partition("#")
            page = page or name
            assert page in found, f"{name}: {link}"
            assert not place or place in found[page].ids, f"{name}: {link}"


# ---- the course ----


def test_equations_are_set_without_a_script(site):
    page = (site / "00_lesson.html").read_text("utf-8")
    assert page.count("<math") == 2  # the first one in the claim, which the first page repeats
    assert "$" not in re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    assert "mtable" in page and "<script" in page
    assert "<math" in (site / "index.html").read_text("utf-8")


def test_an_equation_that_cannot_be_set_stops_the_build(tmp_path, notebook):
    for tex in (r"\nosuch{x}", r"\frac{", r"\begin{gathered} a \\ b \end{gathered}"):
        with pytest.raises(pages.PageFailed, match="the equation"):
            pages.equation(tex, block=True)
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 0\n$\\nosuch{x}$")])
    nbformat.write(broken, tmp_path / "00_broken.ipynb")
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("as it was")
    said = make.main(tmp_path, ROOT / "daclip_lab", out)
    assert said.startswith("00_broken.ipynb: the equation") and "\n" not in said
    assert (out / "index.html").read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"00_broken.ipynb", "site"}


def test_one_notebook_leads_to_the_page_of_another_and_solutions_stay_folded(site):
    page = (site / "00_lesson.html").read_text("utf-8")
    assert 'href="01_next.html"' in page
    folded = re.search(r"<details>.*?</details>", page, re.DOTALL)[0]
    assert 'class="highlight"' in folded


def test_without_notebooks_there_is_no_site(tmp_path):
    assert "make notebooks" in make.main(tmp_path, ROOT / "daclip_lab", tmp_path / "site")
    assert not (tmp_path / "site").exists()


# ---- the reference ----


@pytest.fixture
def module(tmp_path):
    """The reference page of a small package of one module."""

    def write(source):
        package = tmp_path / "lab"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text('"""A lab."""\n')
        (package / "module.py").write_text(source)
        return reference.reference_pages(package)[1].body

    return write


def test_the_reference_shows_what_is_public(module):
    body = module(
        '"""A module."""\nLIMIT = 3\n"""The most."""\n_HIDDEN = 1\n\n'
        'def grow(x: int, *, by: float = 0.5) -> int:\n    """Grow `x`.\n\n    Args:\n'
        '        x: a number, or\n            two.\n        by: how much.\n\n    More.\n    """\n\n'
        'def _private():\n    """No."""\n\n'
        'class Tree:\n    """A tree, see `grow`."""\n    height: int\n    """In metres."""\n\n'
        "    def __init__(self, age: int):\n        pass\n\n"
        '    @property\n    def old(self) -> bool:\n        """Whether it is old."""\n'
    )
    assert "grow(x: int, *, by: float=0.5) -&gt; int" in body
    assert "LIMIT = 3" in body and "The most." in body
    assert "class Tree(age: int)" in body and "old: bool" in body and "In metres." in body
    assert "_private" not in body and "_HIDDEN" not in body
    assert "<dt><code>x</code></dt><dd><p>a number, or\ntwo.</p>" in body and "<p>More.</p>" in body


def test_names_lead_to_where_they_are_described(site):
    page = (site / "daclip_lab.pipeline.serialization.html").read_text("utf-8")
    assert '<a href="daclip_lab.models.clip.html#views"><code>models.clip.views</code></a>' in page


def test_angle_brackets_in_docstrings_are_text(module):
    assert "&lt;degradation&gt;/LQ" in module(
        '"""Reads <degradation>/LQ."""\ndef f():\n    """F."""'
    )


def test_a_room_without_a_docstring_is_named(module):
    with pytest.raises(pages.PageFailed, match=r"lab\.module has no docstring"):
        module("def f():\n    pass\n")


# ---- in a browser ----


@pytest.mark.browser
def test_sliders_and_equations_work_from_the_disk(site, browser):
    trouble = []
    with browser.new_page() as page:
        page.set_default_timeout(180_000)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:")) else None)  # fmt: skip
        page.goto((site / "00_lesson.html").as_uri())
        slider = page.locator(".daclip-compare .stage input")
        slider.focus()
        slider.press("Home")
        position = "getComputedStyle(document.querySelector('.daclip-compare')).getPropertyValue('--position')"
        assert page.evaluate(position) == "0%"
        assert page.evaluate("document.fonts.check('16px course-math')")
        # A subscript stands lower than its base: the font's distances are used.
        low = page.evaluate(
            "(() => { const [a, b] = document.querySelector('msub').children;"
            "return b.getBoundingClientRect().bottom - a.getBoundingClientRect().bottom })()"
        )
        assert low > 1
    assert not trouble
