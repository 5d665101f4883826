"""The report as one HTML page that needs nothing else: no scripts, no links, pictures inside.

All text from files is escaped: file names may hold anything.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from posecli.evaluation.bootstrap import Comparison
from posecli.evaluation.canvas import PALETTE, Chart, to_svg
from posecli.evaluation.gallery import KINDS, CutOut
from posecli.evaluation.report import EvalReport
from posecli.evaluation.tables import Table, breakdown_tables, coco_table, number

_DEFINITIONS = (
    ("OKS", "object keypoint similarity: the mean over labelled keypoints of exp(-d^2 / (2 area (2 sigma)^2))."),
    ("AP, AR", "mean over OKS .50:.05:.95, the best 20 poses an image, as pycocotools has them."),
    ("95% interval", "the images are drawn again, with replacement, and scored; 2.5th to 97.5th percentile."),
    ("Groups", "a pose that finds nobody counts against the group of the person it is most like (OKS .1 or more)."),
    ("Keypoint as if the only one", "the score on a ground truth in which no other keypoint is labelled."),
    ("Jitter, inversion, swap, miss", "Ronchi, Perona, ICCV 2017: a keypoint's similarity is .85 or more if good, .5 "
     "or more if jittered; else it is near its person's other side, near somebody else's keypoint, or nowhere."),
)  # fmt: skip

_STYLE = """
:root { color-scheme: light dark; %(light)s --page: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { %(dark)s --page: #12151a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1480px; margin: 0 auto; padding: 24px clamp(12px, 3vw, 40px) 48px; }
h1 { font-size: 1.6rem; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 36px 0 12px; }
h3 { font-size: 1rem; margin: 0 0 8px; }
.cards + h3 { margin-top: 24px; }
p { margin: 4px 0 12px; max-width: 75ch; }
.muted { color: var(--muted); overflow-wrap: anywhere; }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(126px, 1fr)); margin: 20px 0; }
.flow { columns: 400px; column-gap: 16px; }
.flow .card { break-inside: avoid; margin-bottom: 16px; }
.cards { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%%, 400px), 1fr));
  align-items: start; }
.tile, .card { background: var(--ground); border: 1px solid var(--grid); border-radius: 10px; padding: 14px 16px; }
.tile b { display: block; font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--muted); font-size: .82rem; }
.card { min-width: 0; }
.small { font-size: .82rem; margin: 8px 0 0; }
.card svg { display: block; width: 100%%; height: auto; font-family: inherit; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: 4px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--muted); font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr:last-child td { border-bottom: 0; }
figure { margin: 0; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; align-items: end; }
.pair img { display: block; width: 100%%; max-height: 280px; object-fit: contain; border-radius: 6px; }
.pair div { text-align: center; }
.pair span { font-size: .78rem; color: var(--muted); }
figcaption { font-size: .85rem; margin-top: 8px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(8em, max-content) 1fr; gap: 4px 16px; margin: 0; }
dt { font-weight: 600; } dd { margin: 0; color: var(--muted); }
@media (max-width: 600px) { dl { grid-template-columns: 1fr; } dd { margin-bottom: 8px; }
  th, td { padding: 4px 4px; font-size: .8rem; } .tile, .card { padding: 12px; } .tile b { font-size: 1.4rem; } }
@media (max-width: 420px) { th, td { padding: 4px 3px; font-size: .75rem; } }
@media print { body { background: none; } .tile, .card { break-inside: avoid; } }
"""


def page(
    report: EvalReport,
    charts: Iterable[Chart],
    *,
    truth_name: str,
    results_name: str,
    compared: tuple[str, Comparison] | None = None,
    gallery: Sequence[CutOut] | None = None,
) -> str:
    """Return the whole page.

    Args:
        report: with its breakdown.
        charts: drawn in this order.
        truth_name: of the ground truth.
        results_name: of the poses.
        compared: other results' name, and these (b) against them (a).
        gallery: the worst cases; None: there were no pictures to draw on.
    """
    parts = [
        f"<h1>Pose evaluation</h1><p class='muted'>{escape(results_name)}<br>against {escape(truth_name)}</p>",
        _tiles(report),
        _comparison(compared, results_name),
        f"<h2>Charts</h2><div class='flow'>{''.join(map(_chart_card, charts))}</div>",
        f"<h2>Tables</h2><div class='flow'>{''.join(map(_table_card, _tables(report)))}</div>",
        f"<h2>Worst cases</h2>{_gallery(gallery)}",
        _notes(report.notes),
        f"<h2>What the numbers are</h2><div class='card'><dl>{_definitions()}</dl></div>",
    ]
    title = escape(f"Pose evaluation: {results_name}")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_style()}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><main>{"".join(parts)}</main></body></html>\n'


def _style() -> str:
    light, dark = (" ".join(f"--{name}: {colours[place]};" for name, colours in PALETTE.items()) for place in (0, 1))
    return _STYLE % {"light": light, "dark": dark}


def _tables(report: EvalReport) -> Iterable[Table]:
    yield coco_table("COCO's ten numbers", {"": report.scores})
    if report.breakdown:
        yield from breakdown_tables(report.breakdown)


def _tiles(report: EvalReport) -> str:
    scores, interval = report.scores, report.intervals.get("ap")
    tiles = [
        ("AP", number(scores.ap), f"95%: {interval.low:.3f} to {interval.high:.3f}" if interval else "OKS .50:.05:.95"),
        ("AP .50", number(scores.ap50), "half right is enough"),
        ("AP .75", number(scores.ap75), "close to the truth"),
        ("AR", number(scores.ar), "people found"),
    ]
    if report.boxes:
        tiles.append(("box AR@100", number(report.boxes.ar_100_iou50), f"IoU .5; AP {report.boxes.ap50:.3f}"))
    runs = report.refiner_runs_per_person
    if runs is not None:
        tiles.append(("runs per person", f"{runs:.2f}", f"refiner, {report.refiner_runs} / {report.num_annotated}"))
    false = report.false_people
    if false and false.num_images:
        tiles.append(("false people", f"{false.per_image['0']:.2f}", f"an image, {false.num_images} empty ones"))
    counts = f"{scores.num_people} people with keypoints, {scores.num_results} poses"
    tiles.append(("images", str(scores.num_images), counts))
    cells = (f"<span>{name}</span><b>{value}</b><span>{said}</span>" for name, value, said in tiles)
    return f"<div class='tiles'>{''.join(f'<div class=tile>{cell}</div>' for cell in cells)}</div>"


def _comparison(compared: tuple[str, Comparison] | None, results_name: str) -> str:
    if compared is None:
        return ""
    other, comparison = compared
    low, high = comparison.interval.low, comparison.interval.high
    return (
        f"<h2>b against a</h2><div class='card'><h3>{comparison.verdict}</h3><p>AP {comparison.difference:+.3f}, "
        f"95% interval {low:+.3f} to {high:+.3f}; better in {comparison.share_better:.0%} of "
        f"{comparison.num_resamples} draws of the same images for both.</p>"
        f"<p class='muted'>a: {escape(other)}<br>b: {escape(results_name)}</p></div>"
    )


def _table_card(table: Table) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in ("", *table.headings))
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    grid = f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    caption = f"<p class='small muted'>{escape(table.caption)}</p>" if table.caption else ""
    return _card(table.title, grid + caption)


def _chart_card(chart: Chart) -> str:
    return _card(chart.title, to_svg(chart))


def _gallery(cases: Sequence[CutOut] | None) -> str:
    if cases is None:
        return "<p class='muted'>No pictures were given; with --images DIR the worst cases are drawn here.</p>"
    if not cases:
        return "<p class='muted'>There are none: everybody was found, and nobody else.</p>"
    parts = [
        "<p class='muted'>Left limbs are orange, right limbs blue; true keypoints that are hidden are fainter. "
        "A missed person is shown with all poses of the image that score .15 or more.</p>"
    ]
    for kind, group in groupby(cases, key=lambda cut: cut.case.kind):
        figures = "".join(map(_figure, group))
        parts.append(f"<h3>{escape(KINDS[kind])}</h3><div class='cards'>{figures}</div>")
    return "".join(parts)


def _figure(cut: CutOut) -> str:
    sides = "".join(
        f"<div><img alt='{name} in {escape(cut.file_name, quote=True)}' src='data:image/jpeg;base64,"
        f"{b64encode(data).decode()}'><span>{name}</span></div>"
        for name, data in (("truth", cut.truth), ("prediction", cut.found))
    )
    caption = f"{escape(cut.case.caption)} <span class='muted'>{escape(cut.file_name)}</span>"
    return f"<figure class='card'><div class='pair'>{sides}</div><figcaption>{caption}</figcaption></figure>"


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f"<h2>Notes</h2><div class='card muted'>{'<br>'.join(map(escape, notes))}</div>"


def _definitions() -> str:
    return "".join(f"<dt>{escape(term)}</dt><dd>{escape(said)}</dd>" for term, said in _DEFINITIONS)


def _card(title: str, body: str) -> str:
    return f"<div class='card'><h3>{escape(title)}</h3>{body}</div>"
