"""The report page, as text and in a real browser."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from posecli.evaluation import BoxScores, Comparison, Interval
from posecli.evaluation.charts import charts
from posecli.evaluation.gallery import cut_out
from posecli.evaluation.page import page
from posecli.evaluation.publish import write_page, write_plots

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>\"'&.jpg"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VOID = {"meta", "img", "br", "rect", "circle", "polyline"}


class Tags(HTMLParser):
    """Counts tags and checks that each is closed by its own end."""

    def __init__(self, text):
        super().__init__()
        self.counts, self.attributes, self.open = {}, [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def drawn(scored, report):
    return list(charts(scored, report.breakdown))


@pytest.fixture
def hostile_page(scored, report, drawn, pictures):
    cuts = [replace(cut, file_name=HOSTILE) for cut in cut_out(scored, pictures)]
    report = replace(report, notes=(f"{HOSTILE}: a note",))
    return page(report, drawn, truth_name=HOSTILE, results_name=HOSTILE, gallery=cuts)


def test_the_page_needs_nothing_else_and_shows_names_as_text(hostile_page):
    tags = Tags(hostile_page)

    assert not tags.open
    assert {"script", "link", "iframe", "object", "a"} & set(tags.counts) == set()
    assert [value for name, value in tags.attributes if name == "src" and not value.startswith("data:")] == []
    assert [name for name, _ in tags.attributes if name.startswith("on")] == []
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", hostile_page)
    assert "&lt;script&gt;" in hostile_page


def test_the_page_has_the_scores_the_charts_and_both_sides_of_every_case(report, drawn, hostile_page):
    tags = Tags(hostile_page)

    assert f"{report.scores.ap:.3f}" in hostile_page
    assert f"{report.intervals['ap'].low:.3f} to {report.intervals['ap'].high:.3f}" in hostile_page
    assert tags.counts["svg"] == len(drawn) == 7
    assert tags.counts["img"] == 2 * tags.counts["figure"] > 0


def test_the_page_says_what_it_has_not_got(report, drawn):
    bare = page(report, drawn, truth_name="gt.json", results_name="pred.json")
    perfect = page(report, drawn, truth_name="gt.json", results_name="pred.json", gallery=[])

    assert "No pictures were given; with --images DIR" in bare
    assert "There are none: everybody was found" in perfect


def test_boxes_runs_and_a_comparison_are_shown_where_they_are_known(report, drawn):
    boxes = BoxScores(ap=0.4, ap50=0.61, ap75=0.3, ar_100=0.5, ar_100_iou50=0.87)
    full = replace(report, boxes=boxes, refiner_runs=72)
    comparison = Comparison(
        difference=0.02, interval=Interval(0.01, 0.03), verdict="b is better", share_better=1.0, num_resamples=100
    )

    html = page(full, drawn, truth_name="gt", results_name="b.json", compared=("<a>.json", comparison))

    assert {"0.870", "2.00", "b is better"} <= set(re.findall(r">([^<>]+)<", html))
    assert "+0.010 to +0.030" in html
    assert "a: &lt;a&gt;.json" in html


def test_page_and_plots_are_written_whole_into_new_folders(tmp_path, drawn):
    path = write_page(tmp_path / "new" / "report", "<p>é</p>")
    plots = write_plots(tmp_path / "plots", drawn)

    assert path.read_text(encoding="utf-8") == "<p>é</p>"
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == sorted(plot.name for plot in plots)
    for chart, plot in zip(drawn, plots, strict=True):
        assert cv2.imread(str(plot)).shape[1] == chart.width * 3


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Run a browser without a window, and without anything that it would say to others."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)}")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--allow-file-access-from-files")  # fmt: skip

    def run(*arguments):
        folder = tmp_path_factory.mktemp("browser")  # a used profile takes seconds to be opened
        with (folder / "out").open("wb") as out:  # a pipe would wait for helpers that outlive the browser
            command = [program, *flags, f"--user-data-dir={folder / 'profile'}", *map(str, arguments)]
            subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, timeout=120, check=True)
        return (folder / "out").read_text(encoding="utf-8")

    try:
        run("--dump-dom", "about:blank")
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{program} does not start here ({error})")

    return run


def test_a_browser_shows_the_page_at_every_width_and_runs_nothing_of_it(browser, tmp_path, hostile_page):
    write_page(tmp_path, hostile_page)
    frames = "".join(f"<iframe src='report.html' width={width} height=900></iframe>" for width in (380, 800, 1600))
    measure = "f=>[f.width, f.contentDocument.documentElement.scrollWidth, f.contentDocument.title.startsWith('Pose')]"
    (tmp_path / "frames.html").write_text(
        f"<body>{frames}<script>onload=()=>document.title=[...document.querySelectorAll('iframe')].map({measure})"
        "</script></body>"
    )

    title = re.search("<title>(.*?)</title>", browser("--dump-dom", tmp_path / "frames.html"))

    widths = title.group(1).split(",")
    assert widths[0::3] == ["380", "800", "1600"]
    assert [int(inner) <= int(outer) for outer, inner in zip(widths[0::3], widths[1::3], strict=True)] == [True] * 3
    assert widths[2::3] == ["true"] * 3  # no script of a file name has changed it


def test_a_browser_draws_the_charts(browser, tmp_path, hostile_page):
    write_page(tmp_path, hostile_page)

    browser(f"--screenshot={tmp_path / 'shot.png'}", "--window-size=1200,2400", tmp_path / "report.html")

    shot = cv2.imread(str(tmp_path / "shot.png"))
    assert shot.shape[:2] == (2400, 1200)
    bars = (shot == (178, 114, 0)).all(axis=-1)  # the blue of bars on light ground, as OpenCV has it
    assert bars.sum() > 5000
    assert len(np.unique(shot.astype(int) @ (1, 256, 65536))) > 100  # colours: text and lines are smooth
