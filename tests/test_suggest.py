"""The nearest name, where there is one."""

from medfuse.suggest import did_you_mean


def test_near_name_is_suggested_whatever_its_case() -> None:
    assert did_you_mean("Atention", ["attention", "concat"]) == ' Did you mean "attention"?'
    assert did_you_mean("COVID19", ["Covid-19"]) == ' Did you mean "Covid-19"?'


def test_far_name_gives_no_suggestion() -> None:
    assert did_you_mean("xyz", ["attention", "concat"]) == ""
    assert did_you_mean("xyz", []) == ""
