"""Pages in headless Chromium, with a script of the test's own in each."""

import base64
import dataclasses
import hashlib
import html
import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_POLICY = "script-src "
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1400,1200", "--dump-dom",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Seen:
    """Attributes:
    found: of each page, what its script found.
    complaints: lines of the console: errors, and what a page's policy blocked.
    """

    found: Mapping[str, Any]
    complaints: list[str]


def executable() -> str:
    """Skips the test where there is no Chromium."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium here: none of {', '.join(_NAMES)} is on the path")
    return found


def look(pages: Mapping[str, tuple[pathlib.Path, int, str]], folder: pathlib.Path) -> Seen:
    """Opens pages together, each in a frame of its own width, which no window's least width holds up.

    Args:
      pages: name -> (the file; width; the body of an async function, which returns what it found).
      folder: for copies of the pages, whose own policies let the test's script run beside the page's.
    """
    program = executable()
    frames = []
    for number, (name, (page, width, body)) in enumerate(pages.items()):
        script = _FOUND % (body, json.dumps(name))
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        source = page.read_text()
        assert source.count(_POLICY) == 1
        source = source.replace(_POLICY, f"{_POLICY}'sha256-{digest}' ")
        (folder / f"{number}.html").write_text(source.replace("</body>", f"<script>{script}</script></body>"))
        frames.append(f'<iframe src="{number}.html" style="width: {width}px; height: 1000px"></iframe>')
    top = folder / "top.html"
    top.write_text(f"<!doctype html><meta charset=utf-8><body>{_COLLECT}{''.join(frames)}")
    # A profile of its own: another Chromium of this user may be open.
    command = [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", top.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    found = {
        name: json.loads(html.unescape(content))
        for name, content in re.findall(r'<pre data-page="([^"]*)">(.*?)</pre>', done.stdout, re.DOTALL)
    }
    return Seen(found, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


_FOUND = """addEventListener("load", async () => {
  let found;
  try { found = await (async () => { %s })(); } catch (error) { found = { failed: String(error.stack) }; }
  parent.postMessage([%s, JSON.stringify(found)], "*");
});"""

_COLLECT = """<script>addEventListener("message", (event) => {
  const found = document.createElement("pre");
  found.dataset.page = event.data[0];
  found.textContent = event.data[1];
  document.body.append(found);
});</script>"""
