from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from medfuse.contract import HeadSpec


@pytest.mark.parametrize(
    ("fields", "classes", "outputs"),
    [
        ({}, 5, 5),
        ({"single_logit": True, "link": "sigmoid_pair"}, 2, 1),
        ({"link": "coral"}, 5, 4),
        ({"link": "corn"}, 5, 4),
        ({"link": "sigmoid"}, 5, 5),
    ],
)
def test_a_head_has_as_many_outputs_as_its_link_needs(fields, classes, outputs) -> None:
    assert HeadSpec(name="h", summary="s", factory="a:b", **fields).output_dim(classes) == outputs


def test_a_spec_cannot_be_changed() -> None:
    spec = HeadSpec(name="h", summary="s", factory="a:b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"


def test_the_contract_imports_no_heavy_library() -> None:
    program = (
        "import sys, medfuse.contract;"
        "heavy = {'torch', 'monai', 'timm', 'torchvision', 'ignite', 'numpy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
