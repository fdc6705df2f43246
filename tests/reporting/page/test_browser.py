"""The page in a browser: Debian's chromium, driven by playwright, with every request and console message recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vitad_med.data.case import Case
from vitad_med.reporting.page import Row, write_page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
MANY = 25_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is absent: apt-get install chromium"),
]


class Visit:
    """A page that is open, with all it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 900}, **settings)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = path.as_uri()
        self.page.goto(self.address)

    def column(self, key: str) -> list[str]:
        """Texts of a column of the worklist as shown."""
        return self.page.locator(f"#images tbody td.{key}").all_inner_texts()

    def status(self) -> str:
        return self.page.locator("#status").inner_text().replace("\N{NARROW NO-BREAK SPACE}", "")

    def heat(self, selector: str) -> float:
        return float(self.page.locator(selector).first.evaluate("image => getComputedStyle(image).opacity"))


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Ask until it holds: the page's policy forbids playwright's own waiting, which evaluates text in the page."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Imported late: the other tests of this folder run without it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, sample: ModuleType, cases: list[Case]) -> dict[str, Path]:
    """Three pages: pictures inside, pictures beside, and 25,000 rows."""
    folder = tmp_path_factory.mktemp("pages")
    rows = sample.sample_rows(cases)
    pictures = sample.sample_thumbnails(cases, rows, 60)
    report = sample.sample_report()
    paths = {name: folder / name / "report.html" for name in ("inside", "beside", "many")}
    write_page(paths["inside"], report, rows, pictures)
    write_page(paths["beside"], report, rows, pictures, side_folder=True)
    write_page(paths["many"], report, sample.sample_rows(cases, MANY), pictures[:5])
    return paths


@pytest.fixture
def visit(browser: Any, files: dict[str, Path]) -> Iterator[Visit]:
    opened = Visit(browser, files["inside"], color_scheme="light")
    yield opened
    # Whatever a test did: nothing left the page and nothing went wrong.
    assert [url for url in opened.requests if url != opened.address and not url.startswith("data:")] == []
    assert opened.complaints == []
    opened.page.close()


def test_the_policy_really_blocks_the_network(browser: Any, files: dict[str, Path]) -> None:
    visit = Visit(browser, files["inside"])
    visit.page.evaluate("""() => { const image = new Image(); image.src = "https://example.org/x.png"; }""")
    blocked = visit.page.evaluate("""() => fetch("https://example.org/").then(() => "sent", () => "blocked")""")
    assert blocked == "blocked"
    assert sum("Content Security Policy" in complaint for complaint in visit.complaints) >= 2
    visit.page.close()


def test_headers_sort_and_say_so(visit: Visit, sample: ModuleType, cases: list[Case]) -> None:
    rows = sample.sample_rows(cases)
    assert visit.column("score") == [f"{row.score:.4f}" for row in rows[:50]]
    header = visit.page.locator("#images th.score")
    assert header.get_attribute("aria-sort") == "descending"
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert visit.column("image") == [row.image for row in rows[::-1][:50]]
    visit.page.locator("#images th.patient button").click()
    assert header.get_attribute("aria-sort") is None
    assert visit.column("patient") == sorted(row.patient for row in rows)[:50]


def test_rows_without_a_value_come_last_either_way(visit: Visit) -> None:
    visit.page.locator("#size").select_option("250")
    for _ in range(2):
        visit.page.locator("#images th.pixel_auroc button").click()
        shown = visit.column("pixel_auroc")
        known = [text for text in shown if text != "\N{EN DASH}"]
        assert 10 < len(known) < len(shown)
        assert shown[: len(known)] == known
        assert known in (sorted(known), sorted(known, reverse=True))


def test_search_and_filters_narrow_the_list(visit: Visit, sample: ModuleType, cases: list[Case]) -> None:
    rows: list[Row] = sample.sample_rows(cases)
    expected = [row.image for row in rows if row.sex == "F" and row.flagged and "Effusion" in row.findings]
    assert 0 < len(expected) < 50
    visit.page.locator('#filters [data-key="sex"]').select_option(label="F")
    visit.page.locator('#filters [data-key="flagged"]').select_option(label="alarm")
    visit.page.locator("#search").fill("effusion")
    wait_until(lambda: len(visit.column("image")) == len(expected))
    assert visit.column("image") == expected
    assert visit.status() == f"1 to {len(expected)} of {len(expected)} images that match, of {len(rows)}"
    visit.page.locator("#search").fill("no such finding")
    wait_until(lambda: visit.status() == "No image matches.")
    visit.page.locator("#clear").click()
    assert visit.status() == f"1 to 50 of {len(rows)} images"


def test_pages_turn(visit: Visit) -> None:
    first = visit.column("image")
    visit.page.locator("#next").click()
    assert visit.status() == "51 to 100 of 112 images"
    assert not set(first) & set(visit.column("image"))
    visit.page.locator("#last").click()
    assert visit.status() == "101 to 112 of 112 images"
    assert visit.page.locator("#next").is_disabled()
    visit.page.locator("#size").select_option("250")
    assert visit.status() == "1 to 112 of 112 images"


def test_the_slider_fades_every_heat_map(visit: Visit) -> None:
    before = visit.heat("tr.row .heat")
    visit.page.locator("#opacity").fill("90")
    assert before == pytest.approx(0.55)
    assert visit.heat("tr.row .heat") == pytest.approx(0.9)


def test_an_opened_row_has_its_own_slider_and_boxes(visit: Visit) -> None:
    visit.page.locator("tr.row").first.click()
    detail = visit.page.locator("tr.detail")
    assert detail.locator(".xray").evaluate("image => image.complete && image.naturalWidth") == 224
    assert detail.locator(".heat").evaluate("image => image.complete && image.naturalWidth") == 112
    assert "X-ray" in (detail.locator(".xray").get_attribute("alt") or "")
    detail.locator("input[type=range]").fill("20")
    assert visit.heat("tr.detail .heat") == pytest.approx(0.2)
    assert visit.heat("tr.row .heat") == pytest.approx(0.55)
    boxes = detail.locator(".stack svg")
    assert boxes.is_visible()
    assert boxes.locator("path").get_attribute("d")
    detail.locator("input[type=checkbox]").uncheck()
    assert boxes.is_hidden()
    visit.page.locator("#boxes").uncheck()
    assert visit.page.locator("tr.row .stack svg").first.is_hidden()
    visit.page.locator("#boxes").check()
    assert visit.page.locator("tr.detail .stack svg").is_visible()


def test_the_worklist_works_from_the_keyboard(visit: Visit) -> None:
    page = visit.page
    page.locator("#images th.score button").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('name')"):
            break
    names = visit.column("image")
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == names[0]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == names[2]
    page.keyboard.press("Enter")
    assert page.locator("tr.detail h3").inner_text() == names[2]
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "range"
    page.keyboard.press("ArrowRight")
    assert visit.heat("tr.detail .heat") == pytest.approx(0.56)
    page.keyboard.press("Escape")
    assert page.locator("tr.detail").count() == 0
    assert page.evaluate(focused) == names[2]


def test_colours_follow_the_system_and_the_button(browser: Any, files: dict[str, Path]) -> None:
    visit = Visit(browser, files["inside"], color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    label = "getComputedStyle(document.querySelector('.chart text')).fill"
    dark, dark_label = visit.page.evaluate(background), visit.page.evaluate(label)
    visit.page.locator("#theme").click()
    light, light_label = visit.page.evaluate(background), visit.page.evaluate(label)
    assert (dark, light) == ("rgb(14, 20, 26)", "rgb(244, 246, 248)")
    assert dark_label != light_label
    visit.page.locator("#theme").click()
    visit.page.emulate_media(media="print")
    assert visit.page.evaluate(background) == "rgb(255, 255, 255)"
    assert visit.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')") == "#17222d"
    assert visit.complaints == []
    visit.page.close()


def test_nothing_overflows_a_narrow_screen(browser: Any, files: dict[str, Path]) -> None:
    visit = Visit(browser, files["inside"])
    for width in (400, 820, 1280):
        visit.page.set_viewport_size({"width": width, "height": 800})
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.close()


def test_print_opens_every_section_and_leaves_controls_out(visit: Visit, tmp_path: Path) -> None:
    visit.page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    assert visit.page.evaluate("[...document.querySelectorAll('details')].every(details => details.open)")
    visit.page.emulate_media(media="print")
    for hidden in ("#controls", "#pager", ".bar"):
        assert visit.page.locator(hidden).is_hidden()
    assert visit.page.locator("#images tbody tr.row").count() == 50


def test_without_javascript_the_first_rows_and_a_note_are_shown(browser: Any, files: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["inside"].as_uri())
    assert page.locator("#images tbody tr").count() == 50
    assert page.locator("noscript p").is_visible()
    assert page.locator("#controls").is_hidden()
    context.close()


def test_pictures_beside_the_page_load_when_they_come_near(browser: Any, files: dict[str, Path]) -> None:
    visit = Visit(browser, files["beside"])
    first = visit.page.locator("tr.row .xray").first
    first.scroll_into_view_if_needed()
    wait_until(lambda: first.evaluate("image => image.naturalWidth") == 224)
    folder = visit.address.rsplit("/", 1)[0]
    pictures = [url for url in visit.requests if url != visit.address]
    assert pictures
    assert all(url.startswith(f"{folder}/thumbnails/") for url in pictures)
    assert visit.page.locator("tr.row .xray").evaluate_all("images => images.every(image => image.loading === 'lazy')")
    assert visit.complaints == []
    visit.page.close()


def test_25000_rows_stay_responsive(browser: Any, files: dict[str, Path]) -> None:
    started = time.perf_counter()
    visit = Visit(browser, files["many"])
    loaded = time.perf_counter() - started
    assert visit.status() == f"1 to 50 of {MANY} images"
    clicked = """key => {
        const started = performance.now();
        document.querySelector(`#images th.${key} button`).click();
        document.body.offsetHeight;
        return performance.now() - started;
    }"""
    times = {key: visit.page.evaluate(clicked, key) for key in ("image", "score", "findings", "age_band", "p_value")}
    searched = """() => new Promise(done => {
        const started = performance.now();
        const search = document.querySelector("#search");
        new MutationObserver(() => done(performance.now() - started - 120)).observe(
            document.querySelector("#status"), { childList: true });
        search.value = "cardiomegaly pa";
        search.dispatchEvent(new Event("input"));
    })"""
    times["search"] = visit.page.evaluate(searched)
    size = files["many"].stat().st_size
    print(
        f"25,000 rows: {size / 1e6:.1f} MB, loaded in {loaded:.1f} s,",
        {key: round(ms) for key, ms in times.items()},
        "ms",
    )
    assert size < 5_000_000
    assert loaded < 10
    assert max(times.values()) < 1500
    assert visit.complaints == []
    visit.page.close()
