from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st
from monai.bundle.config_parser import ConfigParser

from medfuse.bundle.nodes import with_code

names = st.sampled_from(["scripts.a.B", "torch.nn.Linear", "scriptsx.C"])
nodes = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        | st.fixed_dictionaries({"_target_": names, "x": inner})
    ),
    max_leaves=10,
)


def walk(value):
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


@given(nodes)
def test_every_node_from_scripts_and_no_other_requires_the_code(node) -> None:
    for found in walk(with_code(node)):
        from_scripts = str(found.get("_target_")).startswith("scripts.")
        assert (found.get("_requires_") == "@bundle_code") == from_scripts


@given(nodes)
def test_the_given_node_is_left_as_it_is(node) -> None:
    before = repr(node)
    with_code(node)
    assert repr(node) == before


def test_a_bundle_keeps_python_from_writing_compiled_code_into_it(bundle, monkeypatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["bundle_root"] = str(bundle)
    parser.get_parsed_content("bundle_code")
    assert sys.dont_write_bytecode
    assert sys.path[0] == str(bundle)
