"""Chromium, and a JupyterLab of its own on the loopback, for the tests of what a person sees and moves."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

PATIENCE = 120_000  # milliseconds; a busy machine is slow, not wrong
SHOTS = Path(__file__).parents[2] / "runs" / "browser"
HARMLESS = re.compile(
    r"favicon|GPU stall|GroupMarkerNotSet|WebGL|software|"
    r"status of 404|"  # JupyterLab asks for settings and workspaces that are not there yet
    r"model not found|"  # JupyterLab's own word on a view that a saved notebook cannot show
    r"Canceled future for execute_request"  # a kernel that a test stops
)
expect.set_options(timeout=PATIENCE)


@pytest.fixture
def page(browser):
    """A page on which any error of a script or in the console, or a request to elsewhere, fails the test."""
    trouble = []

    def note(message):
        if message.type == "error" and not HARMLESS.search(message.text):
            trouble.append(message.text)

    with browser.new_page(viewport={"width": 1000, "height": 900}) as page:
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", note)
        page.on("request", lambda request: trouble.append(request.url) if remote(request) else None)
        yield page
    assert not trouble


def remote(request):
    return not re.match(r"data:|blob:|file:|about:|(http|ws)://127\.0\.0\.1:", request.url)


def answers(address, seconds=60):
    """Wait until somebody listens there: the address is printed a moment earlier."""
    until = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(address).close()
        except urllib.error.URLError:
            assert time.monotonic() < until, f"nobody answers at {address}"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory):
    """A JupyterLab on a free port, with settings of its own; its folder and the address of its start page."""
    folder = tmp_path_factory.mktemp("jupyter")
    homes = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR",
             "JUPYTERLAB_WORKSPACES_DIR")  # fmt: skip
    options = {
        "ServerApp.root_dir": folder,
        "ServerApp.port": 0,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
    }
    news = folder / ".jupyter/JUPYTERLAB_SETTINGS_DIR/@jupyterlab/apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            *(f"--{name}={option}" for name, option in options.items()),
        ],
        env={
            **os.environ,
            **{name: str(folder / ".jupyter" / name) for name in homes},
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        },
        stderr=(folder / "server.log").open("w"),
        text=True,
    )
    try:
        until, address = time.monotonic() + 60, None
        while address is None:
            assert time.monotonic() < until and server.poll() is None, "JupyterLab did not start"
            log = (folder / "server.log").read_text()
            address = re.search(r"http://127\.0\.0\.1:\S+token=\S+", log)
            time.sleep(0.1)
        answers(address[0])
        yield folder, address[0]
    finally:
        server.terminate()
        server.wait(30)


class Notebook:
    """A notebook open in JupyterLab, and what a person does with it."""

    def __init__(self, page, address, path, cells):
        self.page, self.address, self.path = page, address, path
        code = [
            nbformat.v4.new_code_cell(text) for text in [*cells, ""]
        ]  # the last one is for `value`
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=kernel), path)
        self._open()

    def _open(self):
        self.page.goto(self.address.replace("/lab?", f"/lab/tree/{self.path.name}?reset&"))
        self.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        # More of the window for the notebook.
        self.command("application:set-mode", {"mode": "single-document"})
        if self.page.locator("#jp-left-stack:visible").count():
            self.command("application:toggle-left-area")

    def command(self, name, args=None):
        """Run one of JupyterLab's commands."""
        self.page.evaluate(
            "([name, args]) => { void window.jupyterapp.commands.execute(name, args) }",
            [name, args or {}],
        )

    def cell(self, index):
        """Code cell `index`."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)

    def output(self, index):
        """All outputs of a cell."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def run(self, index):
        """Run a cell and wait until it has ended; fails with the text of an error that it shows."""
        self.start(index)
        expect(self.cell(index).locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"))
        errors = self.output(index).locator('[data-mime-type="application/vnd.jupyter.error"]')
        assert not errors.count(), errors.first.inner_text()

    def start(self, index):
        """Run a cell and go on."""
        prompt = self.cell(index).locator(".jp-InputPrompt")
        before = prompt.inner_text()
        self.cell(index).locator(".cm-content").press("Control+Enter")
        self.page.wait_for_function(
            "([node, before]) => node.innerText !== before", arg=[prompt.element_handle(), before]
        )

    def run_all(self):
        """Run all cells, in order."""
        for index in range(self.page.locator(".jp-Notebook .jp-CodeCell").count() - 1):
            self.run(index)

    def value(self, expression):
        """The `repr` of an expression in the kernel."""
        last = self.page.locator(".jp-Notebook .jp-CodeCell").count() - 1
        editor = self.cell(last).locator(".cm-content")
        editor.fill(f"print(repr({expression}), end='')")
        self.run(last)
        return self.output(last).locator("pre").inner_text()

    def save(self):
        """Save the notebook and read the file."""
        self.command("docmanager:save")
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0)
        self.page.wait_for_timeout(500)
        return nbformat.read(self.path, as_version=4)

    def reopen(self):
        """Stop the kernel and open the notebook anew, as somebody does who comes back another day."""
        self.command("kernelmenu:shutdown")
        self.page.get_by_text("No Kernel").first.wait_for()
        self.page.goto("about:blank")
        self._open()

    def theme(self, name):
        """Switch JupyterLab to "dark" or "light"."""
        self.command("apputils:change-theme", {"theme": f"JupyterLab {name.title()}"})
        expect(self.page.locator("body")).to_have_attribute(
            "data-jp-theme-light", str(name == "light").lower()
        )

    def shot(self, name, width=1000, height=900):
        """A picture of the window for the eye, in runs/browser."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=SHOTS / f"{name}.png")


@pytest.fixture
def notebook(page, jupyter, request):
    """A function that opens a new notebook with the given code cells; its kernel ends with the test."""
    folder, address = jupyter
    opened = []

    def make(cells):
        name = re.sub(r"\W+", "_", request.node.name)
        book = Notebook(page, address, folder / f"{name}_{len(opened)}.ipynb", cells)
        opened.append(book)
        return book

    yield make
    if opened:
        page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
