"""A real browser: log in, open an anomaly, mark a false alarm; nothing leaves this host, or is forbidden."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pipeline.web import Keeper, application
from tests.web.conftest import PASSWORD, USERS

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")


@pytest.fixture(scope="module")
def server(keeper: Keeper) -> Iterator[str]:
    config = uvicorn.Config(application(keeper, users=USERS), port=0, log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any, server: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    context = chromium.new_context(base_url=server, **getattr(request, "param", {}))
    found = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    found.on("request", lambda r: asked.append(r.url))
    found.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    found.on("pageerror", lambda e: wrong.append(str(e)))
    found.goto("/")
    found.get_by_label("Name").fill("ada")
    found.get_by_label("Password").fill(PASSWORD)
    found.get_by_role("button", name="Log in").click()
    found.wait_for_selector("h1:has-text('Streams')")
    yield found
    assert [url for url in asked if not url.startswith((server, "data:", "blob:"))] == []
    assert wrong == []
    context.close()


def test_an_anomaly_is_opened_and_marked_as_a_false_alarm(page: Any, keeper: Keeper, fault: str) -> None:
    page.get_by_role("link", name="Anomalies").click()
    page.get_by_role("link", name="from 2026-03-07 02:00 UTC").first.click()
    page.wait_for_selector(".js-plotly-plot .main-svg")
    assert page.locator(".still").is_hidden(), "the figure took the place of the still one"
    page.get_by_label("Why").fill("cleaning")
    page.get_by_role("button", name="False alarm").click()
    page.wait_for_selector("#answers:has-text('cleaning')")
    assert page.url.endswith(fault), "without a reload"
    assert keeper.work.answers(fault)[-1]["why"] == "cleaning"
    assert page.evaluate("document.activeElement.id") == "answers", "a reader hears what changed"
    page.get_by_role("button", name="Take back").click()
    page.wait_for_selector("#answers:has-text('reopened')")


def test_a_figure_is_moved_by_keyboard_and_mouse(page: Any) -> None:
    page.goto("/streams/plant?entity=pump-1")
    page.wait_for_selector(".js-plotly-plot .main-svg")
    with page.expect_response("**/series?*") as answer:
        page.get_by_role("link", name="earlier").focus()
        page.keyboard.press("Enter")
    before = answer.value.json()["from"]
    box = page.locator(".nsewdrag").first.bounding_box()
    with page.expect_response("**/series?*") as answer:
        page.mouse.move(box["x"] + 100, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 20, steps=4)
        page.mouse.up()
    assert answer.value.json()["from"] < before


@pytest.mark.parametrize("page", [{"java_script_enabled": False}], indirect=True)
def test_all_works_without_a_script(page: Any, keeper: Keeper, fault: str) -> None:
    page.goto(f"/anomalies/{fault}")
    assert page.locator("svg.line").count() == 3
    page.get_by_label("Why").fill("no script")
    page.get_by_role("button", name="Acknowledge").click()
    page.wait_for_selector("#answers:has-text('no script')")
    assert keeper.work.answers(fault)[-1]["what"] == "acknowledged"
    page.get_by_role("button", name="Take back").click()


@pytest.mark.parametrize("page", [{"viewport": {"width": 375, "height": 700}}], indirect=True)
def test_a_phone_has_nothing_beside_the_screen(page: Any, fault: str) -> None:
    for path in ("/", "/anomalies", f"/anomalies/{fault}", "/streams/plant", "/streams/cards/transactions"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path


def test_the_keyboard_reaches_the_content_first(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "focus is seen"
