from collections import Counter

import numpy as np
import pytest

FOLDED = """\
run (posecli/pipeline.py:90);look (posecli/stages/refine.py:200);forward (posecli/networks/prs.py:120) 30
run (posecli/pipeline.py:90);look (posecli/stages/refine.py:200);crops (posecli/stages/refine.py:80) 6
main (x.py:1);<module> (posecli/networks/prs.py:1);_find_and_load (importlib/_bootstrap.py:2) 50
work (posecli/engines/queues.py:9);write (posecli/media/video_overlay.py:70) 4
idle (threading.py:1) 9
"""


@pytest.fixture(scope="module")
def profile(load_example):
    return load_example("draw_profile")


def test_samples_count_for_the_innermost_part_of_the_loop(profile):
    assert profile.parts_of(FOLDED) == {"networks": 30, "crops and input": 6, "draw and encode": 4}


def test_bars_are_as_long_as_their_milliseconds(profile):
    picture = profile.draw({"before": Counter(networks=40), "after": Counter(networks=90)}, ms=[120.0, 30.0])

    lengths = [int((picture[row] == profile.COLOURS[0]).all(axis=-1).sum()) for row in (30, 30 + profile.ROW)]
    assert lengths[0] == pytest.approx(profile.WIDTH, abs=2)
    assert lengths[1] == pytest.approx(profile.WIDTH / 4, abs=2)
    assert np.ptp(picture) > 0
