from __future__ import annotations

import pytest
import torch

from medfuse.bundle.case_inputs import CompleteCased, OneInputd, PrepareInputs
from medfuse.bundle.case_table import CaseError

SHAPES = {"ct": [1, 2, 2, 2], "row": [3]}


def test_a_missing_input_is_nan_of_its_shape_and_named_nowhere() -> None:
    done = CompleteCased(SHAPES)({"case_id": "a", "row": torch.ones(3), "box": 7})
    assert set(done) == {"case_id", "inputs", "ct", "row"}
    assert done["inputs"] == "row"
    assert done["ct"].shape == (1, 2, 2, 2)
    assert bool(torch.isnan(done["ct"]).all())
    assert not bool(torch.isnan(done["row"]).any())


@pytest.mark.parametrize(
    ("row", "code"),
    [(torch.tensor([1.0, torch.nan, 0.0]), "NON_FINITE"), (torch.ones(4), "WRONG_SHAPE")],
)
def test_a_broken_input_is_refused_and_never_taken_for_missing(
    row: torch.Tensor, code: str
) -> None:
    with pytest.raises(CaseError) as caught:
        CompleteCased(SHAPES)({"ct": torch.ones(1, 2, 2, 2), "row": row})
    assert caught.value.code == code


def test_a_case_without_any_input_is_refused() -> None:
    with pytest.raises(CaseError, match="no input at all"):
        CompleteCased(SHAPES)({"case_id": "a"})


def test_a_missing_input_is_refused_where_all_are_needed() -> None:
    complete = CompleteCased(SHAPES, all_needed=True)
    with pytest.raises(CaseError, match="input ct: absent, but all are needed") as caught:
        complete({"case_id": "a", "row": torch.ones(3)})
    assert caught.value.code == "MISSING_INPUT"
    assert complete({"ct": torch.ones(1, 2, 2, 2), "row": torch.ones(3)})["inputs"] == "ct;row"


def test_transforms_of_one_input_run_on_it_alone_and_only_where_it_is() -> None:
    seen = []

    def double(data: dict) -> dict:
        seen.append(dict(data))
        return {"image": data["image"] * 2, "extra": 1}

    one = OneInputd("ct", [double], allow_missing_keys=True)
    assert one({"case_id": "a", "ct": 3, "row": 5}) == {"case_id": "a", "ct": 6, "row": 5}
    assert one({"case_id": "b", "row": 5}) == {"case_id": "b", "row": 5}
    assert seen == [{"image": 3}]


def test_without_leave_a_missing_input_is_an_error() -> None:
    with pytest.raises(KeyError):
        OneInputd("ct", [])({"row": 5})


def test_the_network_gets_the_inputs_in_its_order() -> None:
    batch = {"row": torch.ones(1), "ct": torch.zeros(1), "case_id": ["a"]}
    first, label, others, named = PrepareInputs(["ct", "row"])(batch, "cpu", False)
    assert first is batch["ct"]
    assert label is None
    assert [x is batch["row"] for x in others] == [True]
    assert named == {}
