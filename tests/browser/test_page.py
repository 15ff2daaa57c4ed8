"""The page in a real browser: what is drawn, found, typed and pointed at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.observe.recording import Recording
from modfs.pictures.html import page
from modfs.pictures.story import story
from modfs.tracing.record import recording_of
from tests.browser.browser import chromium, missing
from tests.modfs.pictures import hostile, many
from tests.mount.conftest import wait_for
from tests.recordings import STOCK, TRACES

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
EARLY = next(path for path in TRACES if path.name.startswith("udev8-early"))
Shows = Callable[..., Any]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def shows(browser: Any, tmp_path: Path) -> Iterator[Shows]:
    """Open a page of recordings; at the end nothing must have gone wrong in it."""

    def open_page(*recordings: Recording, title: str = "boot") -> Any:
        file = tmp_path / "page.html"
        file.write_text(page([story(one, title) for one in recordings]), encoding="utf-8")
        browser.get(file.as_uri())
        wait_for(lambda: browser.execute_script("return document.documentElement.dataset.drawn"))
        return browser

    browser.get_log("browser")
    yield open_page
    # What the test's own look at the pixels costs is told as a "rendering" warning.
    assert [one for one in browser.get_log("browser") if one["source"] != "rendering"] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def typed(browser: Any, keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(keys).perform()


def text(browser: Any, selector: str) -> str:
    found: str = browser.execute_script(
        "return document.querySelector(arguments[0]).innerText", selector
    )
    return found


def colour(browser: Any, module: str, share: float) -> str:
    """Of the pixel that lies ``share`` of the way into the first call of a module."""
    made: str = browser.execute_script(
        """
        const pane = view.panes[0], source = pane.source, [module, share] = arguments;
        const index = source.calls.findIndex(call => text(call, "module") === module);
        view.choose(source, index); view.choose(source, -1); pane.draw();
        const call = source.calls[index], lane = source.laneOf[index];
        const x = pane.x(call[F.begin] + share * (call[F.end] - call[F.begin]));
        const y = lane.top + AXIS - pane.scroll.scrollTop + source.rowOf[index] * lane.rowHeight;
        const pixel = pane.canvas.getContext("2d").getImageData(x, y + 4, 1, 1).data;
        return "#" + [...pixel.slice(0, 3)].map(n => n.toString(16).padStart(2, "0")).join("");
        """,
        module, share,
    )  # fmt: skip
    return made


def test_what_is_drawn(shows: Shows) -> None:
    """On the stock kernel dummy is loaded first; by its trace init takes the last 14 %."""
    browser = shows(recording_of(STOCK[1]), title="stock kernel")
    assert "stock kernel" in text(browser, "h1") and "8 calls" in text(browser, "h1")
    assert browser.title == "stock kernel - modfs timeline"
    begin, init, end = 10.577227, 10.869876, 10.919116
    assert colour(browser, "dummy", (init - begin) / (end - begin) + 0.05) == "#5aa63c"  # init
    assert colour(browser, "dummy", (init - begin) / (end - begin) - 0.05) == "#2f9e94"  # link
    assert colour(browser, "dummy", 0.3) == "#93a1b0"  # check


def test_the_tables_have_the_kernels_sum(shows: Shows) -> None:
    """The kernel's own stats at the end of that boot: 119 + 2 failures; its bytes in MiB."""
    browser = shows(recording_of(EARLY))
    total = text(browser, "#by-reason tr.total").split()
    assert total[2] == "123"  # and two inits that failed, which the kernel counts nowhere
    assert "23.2 MiB" in text(browser, "#by-module tr.total")
    assert text(browser, "#by-module tbody tr").startswith("kvm")


def test_search(shows: Shows) -> None:
    browser = shows(recording_of(EARLY))
    typed(browser, "/kvm eexist")
    assert text(browser, "#found") == "14 matches"  # seven of kvm, seven of kvm_amd
    seen = (
        "const p = view.panes[0]; return p.scroll.scrollTop <= p.source.lanes.find(one => one.name"
    )
    seen += " === 'kvm').top && p.scroll.scrollTop > 0"
    assert browser.execute_script(seen)  # what was found is scrolled to
    browser.execute_script("document.querySelector('#only').click()")
    lanes = "return view.panes[0].source.lanes.map(lane => lane.name)"
    assert browser.execute_script(lanes) == ["kvm", "kvm_amd"]
    typed(browser, "\ue00c")  # Escape
    assert text(browser, "#found") == ""
    assert len(browser.execute_script(lanes)) > 30
    browser.execute_script("document.querySelector('#by-module tbody button').click()")
    assert text(browser, "#found") == "8 matches"  # exactly kvm
    assert browser.execute_script("return document.querySelector('#search').value") == (
        'module:"kvm"'
    )
    typed(browser, "nothing has this name")


def test_keys_alone(shows: Shows) -> None:
    """All of it without a pointer: the calls in turn, zoom, lanes, order, help."""
    right, enter, down, escape = "\ue014", "\ue007", "\ue015", "\ue00c"
    browser = shows(recording_of(EARLY))
    typed(browser, right)
    assert "finit_module" in text(browser, "#details")
    first = text(browser, "#details")
    typed(browser, right)
    assert text(browser, "#details") != first
    width = "return view.to - view.from"
    whole = browser.execute_script(width)
    typed(browser, enter)
    assert browser.execute_script(width) < whole / 4
    typed(browser, "0")
    assert browser.execute_script(width) == pytest.approx(whole)
    typed(browser, "+")
    assert browser.execute_script(width) == pytest.approx(whole / 1.5)
    typed(browser, "-")
    lane = "return view.chosenIn.laneOf[view.chosen].name"
    before = browser.execute_script(lane)
    typed(browser, down)
    assert browser.execute_script(lane) != before
    typed(browser, "l")
    assert browser.execute_script("return view.by") == "program"
    typed(browser, "o")
    assert browser.execute_script("return view.order") == "wasted"
    typed(browser, "?")
    assert browser.execute_script("return document.querySelector('#keys').open")
    typed(browser, escape)
    assert not browser.execute_script("return document.querySelector('#keys').open")


def test_pointer(shows: Shows) -> None:
    from selenium.webdriver import ActionChains

    browser = shows(recording_of(STOCK[1]))
    canvas = browser.find_element("css selector", "canvas")
    at = browser.execute_script(
        "const pane = view.panes[0], call = pane.source.calls[0];"
        "return [pane.x((call[F.begin] + call[F.end]) / 2), AXIS + pane.source.lanes[0].top + 5]"
    )
    middle = [canvas.size["width"] / 2, canvas.size["height"] / 2]
    move = [int(place - half) for place, half in zip(at, middle, strict=True)]
    ActionChains(browser).move_to_element_with_offset(canvas, *move).perform()
    assert "finit_module dummy" in text(browser, "#tip")
    ActionChains(browser).move_to_element_with_offset(canvas, *move).click().perform()
    assert "341.9 ms" in text(browser, "#details")  # 10.577227 to 10.919116
    whole = browser.execute_script("return view.from")
    ActionChains(browser).click_and_hold().move_by_offset(80, 0).release().perform()
    assert browser.execute_script("return view.from") != whole


def test_names_that_hold_anything(shows: Shows) -> None:
    """No script of theirs runs, none of their markup is there, and each is found by its name."""
    browser = shows(hostile.recording(), title=hostile.NAMES[0])
    typed(browser, "\ue014")
    typed(browser, "l")
    press = "document.querySelectorAll('#by-module tbody button')[arguments[0]].click()"
    for place in range(len(hostile.NAMES)):
        browser.execute_script(press, place)
        assert text(browser, "#found") == "1 match"
        browser.execute_script("view.choose(view.panes[0].source, arguments[0])", place)
        assert "finit_module" in text(browser, "#details")
        typed(browser, "\ue00c")
    hurt = "return document.documentElement.dataset.hurt"
    assert browser.execute_script(hurt) is None
    assert browser.execute_script("return document.querySelectorAll('img, script').length") == 2


def test_two_sources(shows: Shows) -> None:
    browser = shows(recording_of(EARLY), recording_of(STOCK[1]))
    assert browser.execute_script("return view.panes.length") == 2
    assert "A: boot" in text(browser, "#pane0 h2") and "B: boot" in text(browser, "#pane1 h2")
    assert "wasted A" in text(browser, "#by-module") and "wasted B" in text(browser, "#by-module")
    one, two = browser.execute_script("return view.panes.map(pane => pane.x(100000))")
    assert one == two


def test_a_narrow_window(shows: Shows) -> None:
    browser = shows(recording_of(EARLY))
    before = browser.get_window_size()
    try:
        browser.set_window_size(500, 900)
        wide = "return [document.documentElement.scrollWidth, innerWidth]"
        wait_for(lambda: browser.execute_script("return innerWidth") <= 500)
        scroll, inner = browser.execute_script(wide)
        assert scroll <= inner
        fills = "const p = view.panes[0]; return p.canvas.clientHeight === p.scroll.clientHeight"
        wait_for(lambda: browser.execute_script(fills))
    finally:
        browser.set_window_size(before["width"], before["height"])


def test_ten_thousand_calls(shows: Shows, capsys: pytest.CaptureFixture[str]) -> None:
    browser = shows(many.recording(10_000))
    opened = browser.execute_script("return document.documentElement.dataset.drawn")
    with capsys.disabled():
        print(f"\n10,000 calls: drawn {opened} ms after the page was asked for")
    assert "10000 calls" in text(browser, "h1")
    typed(browser, "/kvm_amd_3")
    assert browser.execute_script("return view.panes[0].source.matched.some(one => one)")
    typed(browser, "\ue00c")
    for keys in ("l", "o", "+", "\ue014", "\ue007"):
        typed(browser, keys)
    assert "finit_module" in text(browser, "#details")
