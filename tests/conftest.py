"""What several test modules share."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def synthesis_cache(tmp_path_factory):
    """A folder for synthesised circuits, so that the tests know each of them after its first use in any process."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "synthesis"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def working_in(synthesis_cache):
    """What makes a folder the working one of a module's tests, which know each circuit after its first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWSIM_CACHE", str(synthesis_cache))

        def enter(folder):
            patch.chdir(folder)
            return folder

        yield enter


@pytest.fixture(scope="module")
def browser():
    """A Chromium without network needs and without WebGL; the tests that need one are skipped where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are looked at with playwright")
    if chromium is None:
        pytest.skip("no Chromium: the page is not looked at in a browser")
    with playwright.sync_playwright() as running:
        options = ["--no-sandbox", "--disable-gpu", "--disable-3d-apis"]
        started = running.chromium.launch(executable_path=chromium, args=options)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Open a file; ``page.said`` notes what the page complains of, asks a network for, or a name in it achieves.

    The pages scroll smoothly unless a reader asks for less motion, as this one does: a place that was read while the page
    was still on its way there is another element's when the pointer comes.
    """
    opened = []

    def opening(path, **options):
        page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", **options)
        opened.append(page)
        page.said = []
        page.on("console", lambda message: page.said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: page.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (page.said.append("dialog"), dialog.dismiss()))
        page.on(
            "request", lambda r: page.said.append(r.url) if not r.url.startswith(("file:", "data:")) else None
        )
        page.goto(path.as_uri())
        return page

    yield opening
    for page in opened:
        page.close()
