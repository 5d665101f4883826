"""One description of a chart, drawn twice: as SVG and as pixels."""

from xml.etree import ElementTree

import numpy as np
import pytest

from posecli.evaluation.canvas import PALETTE, Box, Chart, Dot, Label, Line, to_pixels, to_svg

SVG = "{http://www.w3.org/2000/svg}"
HEAD = 30  # units that the title takes in pixels


def chart(*shapes):
    return Chart("name", "A <title>", "what it & shows", 100, 50, shapes)


def rgb(name):
    return [int(PALETTE[name][0][place : place + 2], 16) for place in (1, 3, 5)]


def contrast(colour, ground):
    """The contrast ratio of two colours, 1 to 21. Source: WCAG 2.2, relative luminance."""
    light = []
    for value in (colour, ground):
        parts = [int(value[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light.append(float(np.dot(linear, (0.2126, 0.7152, 0.0722))))
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_svg_holds_every_shape_with_its_colour_and_escapes_text():
    shapes = (
        Line(((0, 0), (10, 5)), "ink", dashed=True),
        Box(1, 2, 3, 4, "blue"),
        Dot(5, 6, 7, "red"),
        Label(8, 9, "<b>&", anchor="end"),
    )

    root = ElementTree.fromstring(to_svg(chart(*shapes)))

    assert [child.tag.removeprefix(SVG) for child in root] == ["polyline", "rect", "circle", "text"]
    assert root.attrib["aria-label"] == "A <title>. what it & shows"
    assert root[0].attrib["stroke"] == "var(--ink)"
    assert (root[3].text, root[3].attrib["text-anchor"]) == ("<b>&", "end")


def test_pixels_show_shapes_where_they_are():
    pixels = to_pixels(chart(Box(10, 10, 20, 20, "blue"), Dot(70, 25, 8, "red")), scale=2)

    assert pixels.shape == ((50 + HEAD) * 2, 200, 3)
    assert pixels[(20 + HEAD) * 2, 40].tolist() == rgb("blue")
    assert pixels[(25 + HEAD) * 2, 140].tolist() == rgb("red")
    assert pixels[(45 + HEAD) * 2, 100].tolist() == rgb("ground")
    blue = np.argwhere((pixels == rgb("blue")).all(axis=-1))
    assert blue.min(axis=0).tolist() == [(10 + HEAD) * 2, 20]
    assert blue.max(axis=0).tolist() == [(30 + HEAD) * 2 - 1, 59]


def test_a_dashed_line_has_gaps_and_a_whole_one_none():
    whole, dashed = (
        to_pixels(chart(Line(((10, 25), (90, 25)), "ink", 1, dashed=dashed)), scale=2)[(25 + HEAD) * 2, 24:176]
        for dashed in (False, True)
    )

    assert (whole == rgb("ink")).all()
    assert 0.1 < (dashed == rgb("ground")).all(axis=-1).mean() < 0.7


def test_text_is_drawn_on_its_side_of_the_anchor():
    below_title = (10 + HEAD) * 3
    drawn = [to_pixels(chart(Label(50, 25, "mmm", "ink", anchor)))[below_title:] for anchor in ("start", "end")]
    columns = [np.argwhere((pixels != 255).any(axis=-1))[:, 1] for pixels in drawn]

    assert columns[0].min() >= 148
    assert columns[1].max() <= 152


@pytest.mark.parametrize("ground", [0, 1], ids=["light", "dark"])
def test_colours_are_told_from_the_ground(ground):
    found = {name: contrast(pair[ground], PALETTE["ground"][ground]) for name, pair in PALETTE.items()}

    assert min(found["ink"], found["muted"]) > 4.5  # WCAG AA for text
    assert min(found[name] for name in ("blue", "red", "green", "step0", "step5")) > 3  # and for graphics
    assert min(ratio for name, ratio in found.items() if name not in ("ground", "grid")) > 1.4
