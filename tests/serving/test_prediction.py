from __future__ import annotations

import json

import pytest

from medfuse.serving import Prediction

OK = Prediction(
    case="a",
    status="ok",
    inputs=("ct", "age"),
    predicted="x,y",
    probabilities={"x,y": 0.75, "z": 0.1 + 0.2},
    conformal_set=("x,y", "z"),
    distances={"one": 0.5},
)
BAD = Prediction(case="b", status="refused", reason_code="TRUNCATED", reason="ends early")


def test_predictions_become_plain_data() -> None:
    assert json.loads(json.dumps(BAD.to_dict())) == {
        "case": "b",
        "status": "refused",
        "reason_code": "TRUNCATED",
        "reason": "ends early",
        "predicted": "",
        "probabilities": {},
    }


@pytest.mark.parametrize("one", [OK, BAD])
def test_plain_data_become_the_same_prediction(one: Prediction) -> None:
    assert Prediction.of(json.loads(json.dumps(one.to_dict()))) == one
