"""The screenshots of docs/view.md, taken by Chromium.

    python docs/screenshots.py RUN GROUP EPISODES

``RUN`` is a run of training, ``GROUP`` the key of one of its groups (the end of its
address), ``EPISODES`` a run with episodes. Needs the extra browser and the system's
Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"


def main(run: str, group: str, episodes: str) -> None:
    """Start the viewer, and write one image a view."""
    views = {
        "view_run": f"/run/{Path(run).name}",
        "view_group": f"/run/{Path(run).name}/group/{group}",
        "view_episode": f"/run/{Path(episodes).name}/episode/1?beside=2",
    }
    command = [sys.executable, "-m", "srl_agent.view", run, episodes, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout is not None
        address = viewer.stdout.readline().strip().rstrip("/")
        with sync_playwright() as playwright:
            flags = ["--no-proxy-server", "--no-sandbox"]
            chromium = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(120_000)
            for name, path in views.items():
                page.goto(address + path)
                page.screenshot(path=IMAGES / f"{name}.png")
            browser.close()
        viewer.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
