from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medfuse.bundle import BundleRequest
from medfuse.bundle.card import model_card
from medfuse.bundle.digests import write_digests
from medfuse.bundle.export import export_bundle
from medfuse.bundle.license_gate import accepted_terms, require_accepted
from medfuse.bundle.licenses import restricted
from medfuse.bundle.metadata import metadata
from medfuse.bundle.names import check_request
from medfuse.errors import BundleError


def licensed(request: BundleRequest, license_: str, **changes: object) -> BundleRequest:
    one, *others = request.provenance.sources
    sources = (replace(one, license=license_), *others)
    return replace(request, provenance=replace(request.provenance, sources=sources), **changes)


@pytest.mark.parametrize(
    ("license_", "terms"),
    [
        ("CC-BY-NC-4.0", "forbids commercial use"),
        ("cc-by-nc-sa-3.0", "forbids commercial use"),
        ("CC-BY-NC-ND-4.0", "forbids commercial use"),
        ("LicenseRef-research-only", "forbids all but research"),
        ("LicenseRef-dinov3-license", "has conditions of its own"),
        ("MIT AND (CC-BY-NC-4.0 AND CC-BY-4.0)", "forbids commercial use"),
        ("CC-BY-NC-4.0 and MIT", "forbids commercial use"),
        ("CC-BY-NC-SA-3.0-IGO", "forbids commercial use"),
        ("CC-BY-NC", "forbids commercial use"),
        ("CC-BY-NC-4.0 OR LicenseRef-our-hospital", "forbids commercial use"),
    ],
)
def test_restricted_weights_are_refused_with_terms_and_remedy(
    request_: BundleRequest, license_: str, terms: str
) -> None:
    with pytest.raises(BundleError) as refused:
        check_request(licensed(request_, license_))
    (name,) = restricted(license_)
    text = str(refused.value)
    assert text.startswith(f"source test_resnet: license {name} {terms}")
    assert f"--accept-license {name} (bundle.accept_licenses" in text
    check_request(licensed(request_, license_, accepted_licenses=(name.lower(),)))


@pytest.mark.parametrize("license_", ["MIT", "GPL-3.0-only", "CC-BY-NC-4.0 OR MIT", "CC-BY-SA-4.0"])
def test_licenses_that_allow_every_use_pass_without_a_word(
    request_: BundleRequest, license_: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_request(licensed(request_, license_))
    assert not caplog.records


@pytest.mark.parametrize("license_", ["", "LicenseRef-unknown", "LicenseRef-our-hospital"])
def test_licenses_that_nobody_knows_are_a_warning(
    license_: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        require_accepted({"source mine": license_}, ())
    assert "source mine: the terms of license" in caplog.text


def test_one_license_accepted_is_not_the_other() -> None:
    both = {"source a": "CC-BY-NC-4.0", "source b": "LicenseRef-research-only"}
    with pytest.raises(BundleError, match="source b: license LicenseRef-research-only"):
        require_accepted(both, ["CC-BY-NC-4.0"])
    require_accepted(both, ["CC-BY-NC-4.0 AND LicenseRef-research-only"])
    assert accepted_terms(both) == {
        "CC-BY-NC-4.0": "forbids commercial use",
        "LicenseRef-research-only": "forbids all but research",
    }


def test_what_was_accepted_stands_in_metadata_and_card(request_: BundleRequest) -> None:
    accepted = licensed(request_, "CC-BY-NC-4.0", accepted_licenses=("CC-BY-NC-4.0",))
    found = metadata(accepted, {})["medfuse"]
    assert found["accepted_licenses"] == {"CC-BY-NC-4.0": "forbids commercial use"}
    assert found["commercial_use"] is False
    assert "- CC-BY-NC-4.0 forbids commercial use." in model_card(accepted, {}, {})
    assert metadata(request_, {})["medfuse"]["accepted_licenses"] == {}
    code = {"value": "17621005", "scheme": "SCT", "meaning": "Normal"}
    coded = replace(request_, codes={"normal": code})
    assert metadata(coded, {})["medfuse"]["codes"] == {"normal": code}
    assert "Accepted by who" not in model_card(request_, {}, {})


def test_an_export_is_refused_where_nobody_accepted(bundle: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(bundle, tmp_path / bundle.name))
    place = root / "configs" / "metadata.json"
    document = json.loads(place.read_text())
    document["medfuse"]["sources"][0]["license"] = "CC-BY-NC-4.0"
    place.write_text(json.dumps(document))
    write_digests(root)
    with pytest.raises(BundleError, match="license CC-BY-NC-4.0 forbids commercial use"):
        export_bundle(root, "label", tmp_path / "app")
    assert not (tmp_path / "app").exists()
    done = export_bundle(root, "label", tmp_path / "app", ["CC-BY-NC-4.0"])
    assert "license CC-BY-NC-4.0 forbids commercial use, here too" in done.remarks
