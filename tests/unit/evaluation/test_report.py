"""What an evaluation found, as JSON."""

import json

from posecli.evaluation import EvalReport, check_ground_truth, check_results, keypoint_scores


def test_report_divides_refiner_runs_by_everyone_annotated(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    scores = keypoint_scores(ground_truth, check_results(poses, ground_truth))

    report = EvalReport(scores=scores, num_annotated=ground_truth.num_annotated, refiner_runs=45, notes=("a note",))

    assert report.refiner_runs_per_person == 45 / 36
    values = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert values["AP"] == round(scores.ap, 4)
    assert values["refiner_runs_per_person"] == 1.25
    assert values["notes"] == ["a note"]
    assert EvalReport(scores=scores, num_annotated=36).refiner_runs_per_person is None
