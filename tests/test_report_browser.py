"""The page of results in a real browser: silent, sortable, within any width."""

import shutil
from pathlib import Path

import pytest

from stages.compare import __main__ as stage
from stages.compare.report.page import write_page
from stages.compare.rows import collect
from tests.fake_cells import make_cells, metric_rows, write_grid, write_metrics
from tests.report_files import write_statistics

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next(filter(None, map(shutil.which, BROWSERS)), None)
HOSTILE = "<img src=x onerror=hacked=1><script>hacked=1</script>"
WIDTHS = (390, 1440)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOUND is None, reason="no Chromium; install one to run this"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """A page with every panel but the codecs', pictures and a hostile name."""
    root = tmp_path_factory.mktemp("browser")
    cells = make_cells(("udp", "cal"), ("128x96", "64x48"), seeds=(0, 1))
    write_grid(root, cells)
    hostile = make_cells(("udp",), ("64x48",), seeds=(2,))
    (key,) = hostile
    hostile[key] |= {"method": HOSTILE}
    hostile[key]["evaluate"]["flip_test"] = False
    write_grid_of(root, cells | hostile, key)
    results = collect(root)
    stage.write_frames(results, root / "results")
    write_statistics(results, root / "results")
    plots = root / "results" / "plots"
    plots.mkdir()
    with stage.look():
        for draw in (stage.predictions, stage.worst):
            figure = draw(results, stage.blocks(results.rows.drop(columns="boxes"))[0])
            figure.savefig(plots / f"{draw.__name__}.png")
    write_page(results, root / "results")
    return (root / "results" / "report.html").as_uri()


def write_grid_of(root: Path, cells: dict, hostile: str) -> None:
    """params.yaml with all cells; the hostile one has metrics alone."""
    from tests.fake_cells import write_params

    write_params(root, cells)
    known = cells[hostile] | {"method": "udp"}
    rows = metric_rows(hostile, known, method=HOSTILE)
    write_metrics(root, hostile, rows)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=FOUND)
        yield opened
        opened.close()


@pytest.fixture(params=[(w, s) for w in WIDTHS for s in ("light", "dark")], ids=str)
def page(request, browser, address):
    """The opened page; fails where it says anything or asks for anything."""
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    opened = context.new_page()
    said, asked = [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(address)
    yield opened
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    context.close()


def test_page_fits_sorts_and_tells_origins(page):
    assert page.evaluate("document.documentElement.scrollWidth") == page.evaluate(
        "window.innerWidth"
    )
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(e =>
        !e.closest(".scroll, dialog") &&
        e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"""
    )
    assert wide == []
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img[src='x']").count() == 0
    check_sorting(page)
    check_origins(page)


def check_sorting(page) -> None:
    table = page.locator("#panel-1 table").first
    heading = table.locator("thead button", has_text="AP").first
    column = """table => [...table.tBodies[0].rows].map(row =>
        row.cells[2].dataset.value).map(Number)"""
    before = table.evaluate(column)
    heading.click()
    assert table.evaluate(column) == sorted(before, reverse=True) != before
    assert table.locator("th[aria-sort='descending']").count() == 1
    heading.click()
    assert table.evaluate(column) == sorted(before)
    table.locator("thead button", has_text="method").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names, reverse=True) or len(set(names)) > 2


def check_origins(page) -> None:
    dialog = page.locator("dialog")
    assert not dialog.is_visible()
    row = page.locator("#panel-1 tbody tr", has_text="cal").first
    row.locator("td").nth(1).click()
    assert dialog.is_visible()
    text = dialog.inner_text()
    assert "cal-s0" in text and "cal-s1" in text and "settings (hash)" in text
    assert dialog.bounding_box()["width"] <= page.viewport_size["width"]
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_plots_are_readable_in_the_dark(browser, address):
    """Axis text has the page's ink, the background the page's own."""
    inks = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address)
        inks[scheme] = page.evaluate(
            """() => [getComputedStyle(document.querySelector("figure svg text")).fill,
            getComputedStyle(document.body).color]"""
        )
        page.close()
    assert inks["light"][0] == inks["light"][1] != inks["dark"][0] == inks["dark"][1]
