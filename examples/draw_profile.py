"""Draw where the main loop's time goes, before and after a change, from two profiles of py-spy.

    py-spy record -f raw -o before.folded -- python -m posecli infer CLIP
    python examples/draw_profile.py before.folded after.folded --ms 145 --ms 65 -o profile.png

Each sample counts for the innermost part of the loop on its stack. A bar is as long as the milliseconds of CPU that a
frame took altogether, which are measured without the profiler: `os.times` around a run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np

# Parts of the loop, by what stands on a stack; the first one that fits the innermost frame counts.
PARTS = {
    "networks": ("posecli/networks/", "torch/nn/modules/"),
    "crops and input": ("stages/refine.py", "geometry/affine.py", "stages/detect.py"),
    "heatmaps to keypoints": ("geometry/heatmaps.py", "geometry/subpixel.py", "geometry/paf.py"),
    "filter and merge": ("stages/coarse_filter.py", "stages/merge.py", "geometry/oks.py", "geometry/boxes.py"),
    "read and convert": ("media/video.py", "media/pictures.py", "media/orientation.py", "media/sources.py"),
    "draw and encode": ("media/overlay.py", "media/video_overlay.py"),
    "records": ("media/journal.py", "media/coco.py", "engines/output.py"),
}
COLOURS = ((200, 120, 30), (40, 140, 230), (60, 180, 90), (150, 80, 180), (60, 60, 200), (120, 120, 120), (30, 30, 30))
WIDTH, ROW, LEFT = 900, 60, 90


def parts_of(folded: str) -> Counter[str]:
    """Count the samples of each part; stacks outside of the loop, such as imports, are left out."""
    counts: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, samples = line.rpartition(" ")
        for frame in reversed(stack.split(";")):
            part = next((name for name, places in PARTS.items() if any(place in frame for place in places)), None)
            if part is not None:
                if "import" not in stack:
                    counts[part] += int(samples)
                break
    return counts


def draw(profiles: dict[str, Counter[str]], ms: Sequence[float]) -> np.ndarray:
    """Return a (H, W, 3) BGR picture: a bar for each profile, as long as its milliseconds."""
    canvas = np.full((ROW * len(profiles) + 40 * len(PARTS) // 2 + 30, LEFT + WIDTH + 20, 3), 255, np.uint8)
    for row, ((name, counts), length) in enumerate(zip(profiles.items(), ms, strict=True)):
        top, left = 15 + row * ROW, float(LEFT)
        _write(canvas, name, (8, top + 16))
        _write(canvas, f"{length:.0f} ms", (8, top + 36))
        scale = length / max(ms) / max(1, sum(counts.values()))
        for part, colour in zip(PARTS, COLOURS, strict=True):
            right = left + WIDTH * counts[part] * scale
            cv2.rectangle(canvas, (round(left), top), (round(right), top + 36), colour, -1)
            left = right
    for number, (part, colour) in enumerate(zip(PARTS, COLOURS, strict=True)):
        x, y = LEFT + 470 * (number % 2), 30 + ROW * len(profiles) + 30 * (number // 2)
        shares = ", ".join(f"{counts[part] / max(1, sum(counts.values())):.0%}" for counts in profiles.values())
        cv2.rectangle(canvas, (x, y - 14), (x + 16, y + 2), colour, -1)
        _write(canvas, f"{part}: {shares}", (x + 26, y))
    return canvas


def _write(canvas: np.ndarray, text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (30, 30, 30), 1, cv2.LINE_AA)


@click.command(help=(__doc__ or "").splitlines()[0])
@click.argument("profiles", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ms", multiple=True, type=float, required=True, help="CPU milliseconds a frame, one a profile.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Picture to write.")
def main(profiles: tuple[Path, ...], ms: tuple[float, ...], out: Path) -> None:
    """Read, count, draw."""
    counts = {path.stem: parts_of(path.read_text()) for path in profiles}
    cv2.imwrite(str(out), draw(counts, ms))
    for name, found in counts.items():
        total = sum(found.values())
        click.echo(
            f"{name}: {total} samples; " + ", ".join(f"{part} {found[part] / max(1, total):.0%}" for part in PARTS)
        )


if __name__ == "__main__":
    main()
