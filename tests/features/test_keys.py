from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.errors import BankError
from medfuse.features import keys
from medfuse.features.keys import BankKey, recipe_digest, without_paths

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
IDENTITY = {
    "weights": "ab" * 32,
    "plugin": "timm",
    "backbone": "resnet18",
    "options": {"pad_type": "same"},
    "provider": "timm 1.0.20",
    "adapter": {"mean": [0.5], "std": [0.25]},
    "input_size": [224, 224],
    "cut": None,
    "pooling": "native",
    "grid": 4,
}


@given(st.dictionaries(st.text(max_size=5), PLAIN, min_size=1), st.data())
def test_any_changed_field_is_another_recipe(identity, data) -> None:
    field = data.draw(st.sampled_from(sorted(identity)))
    other = data.draw(PLAIN)
    changed = {**identity, field: other}
    same = repr(_strict(changed)) == repr(_strict(identity))
    assert (recipe_digest(changed) == recipe_digest(identity)) == same


@pytest.mark.parametrize("field", sorted(IDENTITY))
def test_a_missing_field_is_another_recipe(field: str) -> None:
    without = {name: value for name, value in IDENTITY.items() if name != field}
    assert recipe_digest(without) != recipe_digest(IDENTITY)


def test_the_order_of_fields_does_not_matter() -> None:
    assert recipe_digest(dict(reversed(IDENTITY.items()))) == recipe_digest(IDENTITY)


def test_another_bank_version_is_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipe_digest(IDENTITY)
    monkeypatch.setattr(keys, "BANK_VERSION", 2)
    assert recipe_digest(IDENTITY) != before


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_an_identity_that_is_not_plain_data_is_refused(value: object) -> None:
    with pytest.raises(BankError, match="not plain data"):
        recipe_digest({"weights": value})


@pytest.mark.parametrize(
    ("given_key", "message"),
    [
        ({"image": "xyz"}, "hexadecimal"),
        ({"image": "ab", "view": -1}, "0 or more"),
        ({"image": "ab", "view": 1}, "augmentation digest"),
        ({"image": "ab", "augmentation": "cd"}, "augmentation digest"),
    ],
)
def test_a_key_without_meaning_is_refused(given_key: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BankKey(**given_key)


def test_shown_data_hold_no_path() -> None:
    shown = without_paths(
        {"use": "timm:resnet18@/home/a/w.pt", "file": "/srv/x", "win": r"C:\w.pt", "list": ["~/w"]}
    )
    assert shown == {
        "use": "timm:resnet18@<path>",
        "file": "<path>",
        "win": "<path>",
        "list": ["<path>"],
    }


def _strict(value):
    if isinstance(value, dict):
        return {"mapping": sorted((key, _strict(item)) for key, item in value.items())}
    return [_strict(item) for item in value] if isinstance(value, list) else value
