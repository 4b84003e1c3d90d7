"""The viewer in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_viewer import Server
from viewer_runs import INSTANCES, agent_run, training_run, write_metrics, write_step

from srl_agent.reports.viewer.export import export
from srl_agent.reports.viewer.runs import find_runs
from srl_agent.rollouts.rollout_log import RolloutLog

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra browser is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

PATIENCE = 60_000  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-proxy-server"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_api.sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        except sync_api.Error as error:
            pytest.skip(f"Chromium does not start here: {str(error).splitlines()[0]}")
        yield made
        made.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(dialog.message))
    yield opened
    context.close()
    # A server that ends makes fetches fail: that is not a fault of the page.
    assert [one for one in complaints if "Failed to load resource" not in one] == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("browsed")
    made = Server(training_run(root / "first"), agent_run(root / "agents"))
    yield made
    made.close()


def address(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def test_one_opens_filters_and_reads_a_group(server: Server, page: Any) -> None:
    page.goto(address(server, "/"))
    page.get_by_role("link", name="first").click()
    page.get_by_role("link", name="groups dropped").click()
    assert page.locator("tr[data-item]").count() == 6
    page.get_by_label("Fate").select_option("kept")
    page.wait_for_url(re.compile("fate=kept"))
    page.get_by_role("searchbox").fill("thought at step 4")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile("text=thought"))
    page.locator("tr[data-item] a").first.click()
    assert page.locator("article.rollout").count() == 4
    assert page.locator("mark").count() > 0 and page.title() != "owned"
    assert "<script>" in page.locator("article.rollout").nth(1).inner_text()


def test_the_keyboard_walks_answers_and_steps(server: Server, page: Any) -> None:
    page.goto(address(server, "/run/first/group/train.3.0"))
    before = page.locator("article.rollout mark").first.inner_text()
    for _ in range(2):
        page.keyboard.press("j")
    assert "on" in page.locator("article.rollout").nth(1).get_attribute("class").split()
    page.keyboard.press("k")
    page.keyboard.press("t")
    assert page.locator("article.rollout").first.locator("details.fold").get_attribute("open") == ""
    page.keyboard.press("]")
    page.wait_for_url(re.compile(r"train\.4\.0"))
    page.get_by_text("thought at step 4", exact=False).first.wait_for(state="attached")
    assert page.locator("article.rollout mark").first.inner_text() != before
    page.keyboard.press("u")
    page.wait_for_url(re.compile("/groups$"))
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"


def test_the_slider_shows_the_same_instance_at_another_step(server: Server, page: Any) -> None:
    page.goto(address(server, "/run/first/group/train.1.0"))
    slider = page.locator("input[type=range]")
    slider.focus()
    page.keyboard.press("End")
    page.wait_for_url(re.compile(r"train\.6\.0"))
    page.locator("output", has_text="step 6 (6 of 6)").wait_for()
    assert page.get_by_role("link", name=INSTANCES[0].id).count() == 1


def test_a_live_run_grows_on_the_open_page(tmp_path: Path, page: Any) -> None:
    run = training_run(tmp_path / "live", steps=2)
    server = Server(run)
    try:
        page.goto(address(server, "/run/live"))
        tile = page.locator("a.tile", has_text="groups kept").locator("b")
        assert tile.inner_text() == "2"
        write_step(RolloutLog(run, "all", 2**20), 3)
        write_metrics(run, [3])
        page.locator("a.tile b", has_text="3").first.wait_for()
        page.locator(".badge", has_text="step 3, not finished").wait_for()
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "path", ["/run/first", "/run/first/groups", "/run/first/group/train.3.0",
             "/run/agents/episode/1?beside=2"]
)  # fmt: skip
def test_a_narrow_page_does_not_scroll_sideways(
    server: Server, browser: Any, scheme: str, path: str
) -> None:
    context = browser.new_context(viewport={"width": 380, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address(server, path))
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(level) for level in re.findall(r"\d+", background)[:3]]
    assert (max(levels) < 60) == (scheme == "dark")
    context.close()


def test_two_episodes_stand_side_by_side(server: Server, page: Any) -> None:
    page.goto(address(server, "/run/agents/episode/1"))
    page.get_by_title("side by side").first.click()
    page.wait_for_url(re.compile("beside=2"))
    boxes = [one.bounding_box() for one in page.locator("section[aria-label^=Attempt]").all()]
    assert len(boxes) == 2 and boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]


def test_an_export_works_from_files(tmp_path: Path, page: Any) -> None:
    run = training_run(tmp_path / "first", steps=3)
    written = export(find_runs([run]), tmp_path / "out", most=300)
    page.goto(written.first.as_uri())
    page.get_by_role("link", name="groups kept").click()
    page.locator("tr[data-item] a").first.click()
    assert page.locator("article.rollout").count() == 4
    page.keyboard.press("[")
    page.wait_for_url(re.compile(r"train\.2\.0\.html"))
