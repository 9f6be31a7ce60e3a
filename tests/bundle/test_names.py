from __future__ import annotations

from dataclasses import replace

import pytest
from monai.bundle.config_parser import ConfigParser

from medfuse.bundle.names import bundle_folder_name, check_classes, check_request
from medfuse.bundle.request import InputSpec
from medfuse.errors import BundleError


def test_folder_name_ends_in_classification() -> None:
    assert bundle_folder_name("lungs") == "lungs_classification"
    assert bundle_folder_name("lungs_classification") == "lungs_classification"


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x", "x" * 65])
def test_names_that_are_no_folder_everywhere_are_refused(name: str) -> None:
    with pytest.raises(BundleError, match="expected 1 to 64 letters"):
        bundle_folder_name(name)


def test_background_is_refused_with_the_remedy() -> None:
    with pytest.raises(BundleError, match='Rename it, for example to "negative"'):
        check_classes(["tumor", "Background"])


def test_names_equal_in_lower_case_are_refused_by_name() -> None:
    with pytest.raises(BundleError, match="'Covid' and 'COVID' are the same"):
        check_classes(["normal", "Covid", "COVID"])


@pytest.mark.parametrize("name", ["", " a", "a\nb"])
def test_unprintable_classes_are_refused(name: str) -> None:
    with pytest.raises(BundleError, match="expected printable text"):
        check_classes(["x", name])


@pytest.mark.parametrize("name", ["$1 + 1", "@network", "%", "C#"])
def test_classes_that_monai_runs_or_replaces_are_refused(name: str) -> None:
    parser = ConfigParser({"network": 1, "classes": ["x", name]})
    assert parser.get_parsed_content("classes") != ["x", name]
    with pytest.raises(BundleError, match="MONAI would run or replace it.*Rename it"):
        check_classes(["x", name])


@pytest.mark.parametrize("name", ["100%", "a@b", "5 $", "x::y"])
def test_classes_that_monai_takes_as_they_are_pass(name: str) -> None:
    assert ConfigParser({"classes": ["x", name]}).get_parsed_content("classes") == ["x", name]
    check_classes(["x", name])


def test_one_class_is_refused() -> None:
    with pytest.raises(BundleError, match="found 1, expected at least 2"):
        check_classes(["x"])


def test_requests_without_network_need_a_reason(request_) -> None:
    with pytest.raises(BundleError, match="0 graph-only reasons and no network node"):
        check_request(replace(request_, network_node=None))
    with pytest.raises(BundleError, match="1 graph-only reasons and a network node"):
        check_request(replace(request_, graph_only=("head x has no recipe",)))


def test_requests_without_preprocessing_or_size_are_refused(request_) -> None:
    with pytest.raises(BundleError, match="no preprocessing"):
        check_request(replace(request_, preprocessing_nodes={}))
    with pytest.raises(BundleError, match=r"expected at least one channel and a size"):
        check_request(replace(request_, inputs=(InputSpec(channels=1, size=(4,)),)))


def test_license_freer_than_the_sources_is_refused(request_) -> None:
    source = replace(request_.provenance.sources[0], license="CC-BY-NC-4.0")
    provenance = replace(request_.provenance, sources=(source,))
    request = replace(request_, provenance=provenance, accepted_licenses=("CC-BY-NC-4.0",))
    with pytest.raises(BundleError, match=r"license MIT is freer .* CC-BY-NC-4.0"):
        check_request(replace(request, license="MIT"))
    check_request(replace(request, license="CC-BY-NC-4.0"))
