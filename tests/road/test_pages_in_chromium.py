"""Our pages in a real browser: the page of a video plays, jumps, and shows where was looked."""

import shutil
import threading

import cv2
import numpy as np
import pytest
import torch
from conftest import CLASSES, clip

import sta_tsn
from sta_tsn.cli import main
from sta_tsn.datasets.demo import write_video
from sta_tsn.evaluation import ScoreTable
from sta_tsn.explanation import demo_server
from sta_tsn.report.page import build_report
from sta_tsn.report.renderer import Picture
from sta_tsn.tasks import TemporalAttentionTSN

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe for the pages")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
if not CHROMIUM:
    pytest.skip(f"no browser: none of {', '.join(NAMES)} in PATH", allow_module_level=True)

# The camera is a moving test picture, allowed without a question.
ARGUMENTS = [
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

# The sum of all colours and opacities of what lies over the video.
OVERLAY = """() => {
  const canvas = document.querySelector(".overlay");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.reduce((sum, value) => sum + value, 0);
}"""
READY = "() => document.getElementById('video').readyState >= 2"
TIME = "() => document.getElementById('video').currentTime"
WIDEST = "() => document.documentElement.scrollWidth"
CURRENT = "() => document.querySelectorAll('.bars [aria-current]').length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return where two checkpoints, whose attention differs, and a clip lie."""
    folder = tmp_path_factory.mktemp("page")
    network = {
        "num_classes": 3,
        "backbone": {"name": "test_resnet", "options": {"output_stride": 16}},
        "weights": "none",
    }
    for name in ("one", "two"):
        task = TemporalAttentionTSN(list(CLASSES), network=network, hidden_dim=8)
        state = {
            "state_dict": task.state_dict(),
            "hyper_parameters": dict(task.hparams),
            "pytorch-lightning_version": "2.6.0",
            "FeatureDataModule": {"frames": [2, 3]},
        }
        torch.save(state, folder / f"{name}.ckpt")
    frames = np.concatenate([clip(label, seed=label, num_frames=20) for label in range(3)])
    write_video(folder / "three colours.mp4", frames, codec="libx264")
    return folder


@pytest.fixture(scope="module")
def page_file(folder):
    """Explain the clip by both networks, side by side."""
    given = ["--checkpoint", str(folder / "one.ckpt"), "--and", str(folder / "two.ckpt")]
    command = ["explain", str(folder / "three colours.mp4"), *given, f"--out={folder / 'out'}"]
    assert main(command) == 0
    return folder / "out" / "three_colours.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def tab(browser):
    """Open an empty tab; whatever the browser complains about fails the test."""
    complaints = []
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url[:60]))
    yield opened
    opened.close()
    ours = ("file:", "data:", "blob:", "http://127.0.0.1:")
    assert [text for text in complaints if not text.startswith(ours)] == []


@pytest.fixture
def page(tab, page_file):
    """Open the page of the clip."""
    tab.goto(page_file.as_uri())
    tab.wait_for_function(READY)
    return tab


def test_the_player_plays_and_stops(page):
    page.locator("body").press("Home")
    before = page.evaluate(TIME)
    page.click("#play")
    page.wait_for_function(f"() => ({TIME})() !== {before}")
    page.click("#play")
    assert page.evaluate("() => document.getElementById('video').paused")


def test_a_click_on_a_bar_and_the_arrow_keys_jump_there(page):
    bars = page.locator(".stream").first.locator(".bars button")
    seconds = [float(bars.nth(k).get_attribute("aria-label").split(" s")[0]) for k in range(6)]
    bars.nth(3).click()
    assert page.evaluate(TIME) == pytest.approx(seconds[3], abs=0.01)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(TIME) == pytest.approx(seconds[4], abs=0.01)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(TIME) == pytest.approx(seconds[2], abs=0.01)
    assert page.evaluate("() => document.activeElement.getAttribute('aria-label')").startswith(
        f"{seconds[2]:.2f} s"
    )
    assert page.evaluate(CURRENT) == 2  # one in each stream


def test_the_slider_changes_what_lies_over_the_video_and_a_key_switches_it_off(page):
    usual = page.evaluate(OVERLAY)
    page.locator("#strength").fill("90")
    strong = page.evaluate(OVERLAY)
    assert strong > usual > 0
    page.locator("h1").click()
    page.keyboard.press("a")
    assert page.evaluate(OVERLAY) == 0
    page.keyboard.press("a")
    assert page.evaluate(OVERLAY) == strong


def test_the_second_stream_shows_the_same_picture(page):
    page.locator(".bars button").nth(2).click()
    page.wait_for_function("() => !document.getElementById('video').seeking")
    seen = page.evaluate("""() => {
      const copy = document.querySelector("canvas.copy");
      const there = copy.getContext("2d").getImageData(32, 24, 1, 1).data;
      const canvas = document.createElement("canvas");
      canvas.width = copy.width;
      canvas.height = copy.height;
      const context = canvas.getContext("2d");
      context.drawImage(document.getElementById("video"), 0, 0, copy.width, copy.height);
      return [[...there], [...context.getImageData(32, 24, 1, 1).data]];
    }""")
    assert seen[0] == seen[1]
    assert seen[0][3] == 255


@pytest.fixture(scope="module")
def report_file(folder):
    """Build the report of a run with wrong answers, whose pictures are of another run."""
    labels = torch.eye(3, dtype=torch.bool).repeat(4, 1)
    scores = 3 * labels.float().roll(1, 0) + labels
    protocol = {"dataset": "UCF101", "split": 1, "crops": 10, "segments": 3}
    protocol |= {"frames_per_segment": 10, "seed": 0, "missing": 0}
    ids = [f"{number}_{'a_long_name_without_spaces_' * 4}" for number in range(12)]
    table = ScoreTable(ids, scores, labels, list(CLASSES), protocol)
    table.save(folder / "scores.npz")

    def draw(place):
        path = place / "attention_rgb_1.jpg"
        cv2.imwrite(str(path), np.full((300, 1400, 3), 99, np.uint8))
        return [Picture(path, f"{ids[1]}: Jump, recognised.", "wide")]

    tables = {"rgb": {"STA-TSN": folder / "scores.npz"}}
    build_report("Table 2", tables, draw, folder / "report", "sta-tsn train --dataset=ucf101")
    return folder / "report" / "index.html"


@pytest.fixture
def server(folder, monkeypatch):
    monkeypatch.setattr(demo_server, "CAMERA_SEC", 2)
    serving = demo_server.DemoServer(sta_tsn.load(folder / "one.ckpt"), port=0)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_the_demo_takes_a_file_and_then_the_camera(tab, server, folder):
    tab.goto(server)
    assert hindrances(tab) == []
    tab.set_input_files("#file", folder / "three colours.mp4")
    tab.wait_for_url("**/shown/**")
    tab.wait_for_function(READY)
    assert "three colours.mp4" in tab.inner_text("header")
    tab.click("text=Another video")
    tab.click("#camera")
    tab.wait_for_url("**/shown/**")
    tab.wait_for_function(READY)
    assert "camera" in tab.inner_text("header")


def test_the_demo_says_why_a_file_is_refused(browser, server, folder):
    tab = browser.new_page()
    tab.goto(server)
    tab.set_input_files("#file", folder / "one.ckpt")
    tab.wait_for_selector("#error:not([hidden])")
    assert "one.ckpt is no video" in tab.inner_text("#error")
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["page_file", "report_file"])
def test_pages_fit_telephones_and_wide_screens_and_hinder_nobody(browser, scheme, name, request):
    page_file = request.getfixturevalue(name)
    opened = browser.new_page(viewport={"width": 1440, "height": 800}, color_scheme=scheme)
    opened.goto(page_file.as_uri())
    assert opened.evaluate(WIDEST) <= 1440
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate(WIDEST) <= 390
    ground = opened.evaluate("() => getComputedStyle(document.body).backgroundColor")
    is_dark = sum(int(part) for part in ground[4:-1].split(",")) < 3 * 128
    assert is_dark == (scheme == "dark")
    assert hindrances(opened) == []
    opened.close()


def hindrances(page) -> list[str]:
    """Return what axe calls serious or critical for people with a handicap."""
    found = axe.Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in serious]
