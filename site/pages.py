"""What a page of the site is: text with equations and code, an executed notebook, and the frame around both.

Equations become MathML, which browsers draw themselves. So no page needs a script but those of the sliders in it.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mathfont import write_fonts
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

STYLE = Path(__file__).with_name("style.css")
NOT_UNDERSTOOD = re.compile(r"<mi>(\\\w+|&(?:amp;)?)</mi>|linebreak=.newline")


class PageFailed(Exception):
    """A page cannot be made; the message names it and the reason in one line."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page, before the frame is put around it."""

    name: str
    """File name without its ending."""
    title: str
    claim: str
    """One sentence, as HTML, for the list on the first page."""
    body: str
    """HTML."""
    course: bool
    """A notebook, or else a module of the library."""


def equation(tex: str, *, block: bool) -> str:
    """TeX as MathML. Raises PageFailed for what cannot be translated, instead of showing half of it."""
    try:
        # The converter knows this environment by its other name.
        math = convert(
            re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{split}", tex),
            display="block" if block else "inline",
        )
    except Exception as error:
        raise PageFailed(f"the equation {tex!r}: {type(error).__name__}") from None
    if found := NOT_UNDERSTOOD.search(math):
        raise PageFailed(f"the equation {tex!r}: no translation for {found[1] or 'a line break'}")
    # TeX's \sim is an operator with space around it; the converter writes the character of keyboards.
    return math.replace("&#x0007E;", "&#x0223C;")


class _Renderer(IPythonRenderer):
    """nbconvert's renderer, with equations that need no script."""

    def block_math(self, body: str) -> str:
        return equation(body, block=True)

    def inline_math(self, body: str) -> str:
        return equation(body, block=False)

    def latex_environment(self, name: str, body: str) -> str:
        return equation(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)


def markdown(text: str, *, plain: bool = False) -> str:
    """Markdown as HTML; in `plain` text, `<` is a character and not the start of a tag."""
    renderer = _Renderer(escape=plain, anchor_link_text="#", exclude_anchor_links=plain)
    return MarkdownWithMath(renderer=renderer).render(text)


def course_page(path: Path) -> Page:
    """The page of an executed notebook."""
    notebook = nbformat.read(path, as_version=4)
    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    exporter.register_filter("markdown2html", markdown)
    try:
        body, _ = exporter.from_notebook_node(notebook)
    except PageFailed as error:
        raise PageFailed(f"{path.name}: {error}") from None
    # One notebook names another by its file; here that is a page.
    body = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)
    opening = notebook.cells[0].source
    title = re.search(r"^# (.+)$", opening, re.MULTILINE)
    claim = re.search(r"\*\*(.+?)\*\*", opening, re.DOTALL)
    if not title:
        raise PageFailed(f"{path.name}: the first cell has no line '# title'")
    return Page(
        name=path.stem,
        title=title[1],
        claim=markdown(claim[1]) if claim else "",
        body=body,
        course=True,
    )


def home_page(lessons: Sequence[Page], modules: Sequence[Page]) -> Page:
    """The page that lists all others."""

    def listed(pages: Sequence[Page]) -> str:
        rows = (
            f'<dt><a href="{page.name}.html">{html.escape(page.title)}</a></dt><dd>{page.claim}</dd>'
            for page in pages
        )
        return f"<dl>{''.join(rows)}</dl>"

    body = (
        "<h1>daclip_lab</h1><p>A lab to learn, train, dissect and extend DA-CLIP, the degradation-aware CLIP for image "
        f'restoration.</p><h2>The course</h2><div class="index">{listed(lessons)}</div>'
        f'<h2>The library, module by module</h2><div class="index">{listed(modules)}</div>'
    )
    return Page(name="index", title="daclip_lab", claim="", body=body, course=False)


def write_pages(pages: Sequence[Page], folder: Path) -> None:
    """Write pages with their frames into a folder, and the style sheet and the fonts that they share."""
    code = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    folder.joinpath("style.css").write_text(f"{code}\n{STYLE.read_text('utf-8')}", "utf-8")
    write_fonts(folder)
    for page in pages:
        folder.joinpath(f"{page.name}.html").write_text(_framed(page, pages), "utf-8")


def _anchor(page: Page, text: str, attributes: str = "") -> str:
    """A link to a page; `text` has braces where its title goes."""
    return f'<a href="{page.name}.html"{attributes}>{text.format(html.escape(page.title))}</a>'


def _framed(page: Page, pages: Sequence[Page]) -> str:
    kin = [other for other in pages if other.course == page.course and other.name != "index"]
    menu = around = ""
    if page in kin:
        here = " aria-current=page"
        links = (f"<li>{_anchor(each, '{}', here * (each is page))}</li>" for each in kin)
        at = kin.index(page)
        before = _anchor(kin[at - 1], "← {}") if at else "<span></span>"
        after = _anchor(kin[at + 1], "{} →") if at + 1 < len(kin) else ""
        menu = f"<ul>{''.join(links)}</ul>"
        around = f'<nav class="around">{before}{after}</nav>'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(page.title)}</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<nav class="menu"><a class="home" href="index.html">daclip_lab</a>{menu}</nav>
<main class="{"course" if page.course else "reference"}">
{page.body}
{around}
</main>
</body>
</html>
"""
