from __future__ import annotations

import csv
import io
import json

from medfuse.serving import Prediction, prediction_table

OK = Prediction(case="a", status="ok", predicted="x,y", probabilities={"x,y": 0.75, "z": 0.25})
BAD = Prediction(case="b", status="refused", reason_code="TRUNCATED", reason="ends early")


def test_the_table_is_blank_where_an_image_was_refused() -> None:
    rows = list(csv.reader(io.StringIO(prediction_table([OK, BAD], ["x,y", "z"]))))
    assert rows == [
        ["case", "status", "reason_code", "predicted", "prob_x,y", "prob_z"],
        ["a", "ok", "", "x,y", "0.75", "0.25"],
        ["b", "refused", "TRUNCATED", "", "", ""],
    ]


def test_predictions_become_plain_data() -> None:
    assert json.loads(json.dumps(BAD.to_dict())) == {
        "case": "b",
        "status": "refused",
        "reason_code": "TRUNCATED",
        "reason": "ends early",
        "predicted": "",
        "probabilities": {},
    }
