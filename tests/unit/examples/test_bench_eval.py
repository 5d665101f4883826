"""The benchmark of scoring compares like with like."""

import pytest


@pytest.fixture(scope="module")
def bench(load_example):
    return load_example("bench_eval")


def test_posecli_and_pycocotools_score_the_made_up_people_alike(bench, tmp_path):
    bench.make_files(tmp_path, num_images=30, num_poses=200)

    ours, theirs, matching, everything = (run(tmp_path) for run in bench.RUNS.values())

    assert ours == pytest.approx(theirs, rel=0, abs=bench.TOLERANCE)
    assert everything == ours
    assert matching == pytest.approx(theirs, rel=0, abs=bench.TOLERANCE)
    assert 0.05 < ours[0] < 0.9  # neither all right nor all wrong


def test_a_process_tells_its_own_peak_not_its_parents(bench, tmp_path):
    bench.make_files(tmp_path, num_images=2, num_poses=4)
    large = b"x" * (600 << 20)

    assert 20 < bench.measure("posecli", tmp_path)["peak_mib"] < 500
    assert bench.peak_mib() > len(large) >> 20
