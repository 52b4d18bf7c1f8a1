"""How smoothly many points are moved on the two maps of the EmbeddingExplorer, in Chromium without a graphics card.

The page holds jupyter-scatter's own script and the state of the two maps, without a Jupyter around them.
"""

import base64
import json
import platform
import shutil
import sys
import time
from pathlib import Path

import jscatter
import numpy as np
import pandas as pd
from playwright.sync_api import Page, Route, sync_playwright

from daclip_lab.widgets.embedding.drawing import coloring
from daclip_lab.widgets.embedding.panel import MapView

SECONDS = 4.0
"""How long the mouse drags, and then how long it scrolls."""
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"]
"""WebGL is computed by the processor."""
ADDRESS = "http://127.0.0.1:1/"
"""Nothing listens there: the page's requests are answered here."""
PAGE = """<!doctype html><meta charset="utf-8">
<style>body { display: grid; grid-template-columns: 1fr 1fr; margin: 0 }</style>
<script type="module">
import scatter from "./bundle.js";
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
for (const state of await (await fetch("./states.json")).json()) {
  for (const value of Object.values(state)) if (value?.view) value.view = bytes(value.view);
  const model = {
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; },
    on() {}, off() {}, save_changes() {}, send() {},
  };
  const el = document.body.appendChild(document.createElement("div"));
  const { render } = typeof scatter === "function" ? await scatter() : scatter;
  await render({ model, el });
}
window.frames_seen = 0;
const count = () => { window.frames_seen += 1; requestAnimationFrame(count); };
requestAnimationFrame(count);
</script>"""


def frames_per_second(points: int = 50_000) -> float:
    """The frames that Chromium shows in a second while a mouse drags and scrolls one of two maps, the fewer of both."""
    return min(rates(points))


def rates(points: int) -> tuple[float, float]:
    """Frames a second while a mouse drags, and while it scrolls."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=CHROMIUM) as browser,
        browser.new_page(viewport={"width": 1000, "height": 440}) as page,
    ):
        files = {"": PAGE, "states.json": json.dumps(states(points)), "bundle.js": script()}
        page.route(f"{ADDRESS}**", lambda route: answer(route, files))
        page.goto(ADDRESS)
        page.wait_for_function("window.frames_seen > 10")
        box = page.locator("canvas").first.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        dragged = rate(
            page, lambda k: page.mouse.move(x + 80 * np.sin(k / 5), y + 60 * np.cos(k / 7))
        )
        page.mouse.up()
        scrolled = rate(page, lambda k: page.mouse.wheel(0, 40 if k % 40 < 20 else -40))
    return dragged, scrolled


def rate(page: Page, move) -> float:
    """Frames a second while a mouse moves for some seconds."""
    before, start, k = page.evaluate("window.frames_seen"), time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        move(k)
        k += 1
    return (page.evaluate("window.frames_seen") - before) / (time.perf_counter() - start)


def states(points: int) -> list[dict]:
    """What the two maps of random points in eleven colours send to a page."""
    rng = np.random.default_rng(0)
    colors = coloring(rng.integers(0, 11, points).astype(str))
    found = []
    for _ in range(2):
        view = MapView(rng.normal(0, 0.3, (points, 2)).clip(-1, 1), colors).widget
        state = {
            name: value for name, value in view.get_state().items() if not name.startswith("_")
        }
        for value in state.values():
            if isinstance(value, dict) and isinstance(value.get("view"), memoryview):
                value["view"] = base64.b64encode(value["view"]).decode()
        found.append({**state, "layout": None})
    return found


def script() -> str:
    """The script of jupyter-scatter's widget."""
    return (Path(jscatter.__file__).parent / "bundle.js").read_text("utf-8")


def answer(route: Route, files: dict[str, str]) -> None:
    """Answer a request of the page."""
    name = route.request.url.removeprefix(ADDRESS)
    kind = {"": "text/html", ".js": "text/javascript", ".json": "application/json"}[
        Path(name).suffix
    ]
    status = 200 if name in files else 404
    route.fulfill(status=status, content_type=kind, body=files.get(name, ""))


def main(arguments: list[str] | None = None) -> None:
    """Print frames a second for some numbers of points, by default 2,200 and 50,000."""
    arguments = sys.argv[1:] if arguments is None else arguments
    rows = {}
    for points in map(int, arguments or ("2200", "50000")):
        rows[f"{points:,} points on each of two maps"] = rates(points)
    print(f"{platform.machine()}, Python {platform.python_version()}, frames a second:\n")
    print(pd.DataFrame(rows, index=["dragging", "scrolling"]).T.round(1).to_string())


if __name__ == "__main__":
    main()
