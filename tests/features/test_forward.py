"""Networks computed by another library than torch: the same features, or a refusal."""

from __future__ import annotations

import contextlib
import logging
from importlib import import_module

import pytest
import torch

from medfuse.errors import ConfigError
from medfuse.features import choice, forward
from medfuse.features.bank import FeatureBank
from medfuse.features.choice import WORTH_TRANSLATING, choose_engine
from medfuse.features.forward import LEAST_SIMILARITY, TorchForward, similarity

LIBRARIES = ("openvino", "onnxruntime")


def _library(name: str) -> str:
    pytest.importorskip(name, reason=f"{name} is not installed")
    return name


class Scaled(torch.nn.Module):
    """Scales its images as an adapter does, by numbers and by a buffer."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean", torch.tensor([0.4]).view(1, 1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        larger = torch.nn.functional.interpolate(
            images * 2 - 1, size=(19, 21), mode="bilinear", antialias=True, align_corners=False
        )
        return self.inner((larger - self.mean) / 0.2)


class Reversing(torch.nn.Module):
    """Gives other features in a trace than outside one."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.inner(images)
        return features.flip(1) if torch.jit.is_tracing() else features


class Scaling(Reversing):
    """Gives larger features in a trace than outside one."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.inner(images)
        return 1.01 * features if torch.jit.is_tracing() else features


class Deciding(Reversing):
    """Takes another way for some images, which no trace of others has."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.inner(images)
        return features.flip(1) if images.mean() > 2 else features


class Untranslatable(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("not in a trace")
        return images.flatten(1)[:, :8]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("threads", [1, 2])
def test_features_are_those_of_torch_and_rows_of_their_own(kit, library, threads) -> None:
    torch.set_num_threads(threads)
    cases = kit.cases(kit.images(9), views=1)
    sources = [kit.Source("a", 8), kit.Source("b", 6, tokens=3, seed=1)]
    sources[0].extractor = Scaled(sources[0].extractor)
    expected = kit.extract(cases, *sources)
    found = kit.extract(cases, *sources, engine=_library(library))
    assert found.computed == 9
    for one, other in zip(expected.values, found.values, strict=True):
        torch.testing.assert_close(torch.tensor(other), torch.tensor(one), rtol=1e-5, atol=1e-6)
    assert kit.extract(cases, *sources, engine=library).forwards == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_bits_do_not_depend_on_what_was_known(kit, library) -> None:
    torch.set_num_threads(2)
    cases = kit.cases(kit.images(11))
    whole = kit.extract(cases, kit.Source("a", 8), engine=_library(library))
    other = FeatureBank(kit.folder / "other")
    kit.extract(cases[3:6], kit.Source("a", 8), engine=library, bank=other)
    parts = kit.extract(cases, kit.Source("a", 8), engine=library, bank=other)
    assert parts.values[0].tobytes() == whole.values[0].tobytes()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (lambda source: Reversing(source.extractor), "other features than by torch"),
        (lambda source: Scaling(source.extractor), "other features than by torch"),
        (lambda source: Deciding(source.extractor), "what it computes depends on values"),
        (lambda source: Untranslatable(), "cannot be translated (not in a trace)"),
    ],
)
def test_what_cannot_be_computed_alike_is_computed_by_torch(
    kit, library, module, reason, caplog
) -> None:
    cases = kit.cases(kit.images(5))
    source, plain = kit.Source("a", 8), kit.Source("b", 8, seed=1)
    source.extractor = module(source)
    expected = kit.extract(cases, source, plain, bank=None)
    with caplog.at_level(logging.WARNING, "medfuse"):
        found = kit.extract(cases, source, plain, engine=_library(library))
    assert f"a: {reason}" in caplog.text
    assert f"by {library}, so torch computes it" in caplog.text
    assert found.values[0].tobytes() == expected.values[0].tobytes()
    # It is banked as computed by torch, so that a later request for torch finds it.
    assert kit.extract(cases, source).forwards == 0


def test_a_broken_installation_is_told_and_torch_computes(kit, caplog, monkeypatch) -> None:
    def broken(name: str):
        raise OSError(f"{name}: a library of it\ncannot be loaded")

    cases, source = kit.cases(kit.images(5)), kit.Source("a", 8)
    expected = kit.extract(cases, source, bank=None)
    monkeypatch.setattr(forward, "import_module", broken)
    with caplog.at_level(logging.INFO, "medfuse"):
        found = kit.extract(cases, source, engine="openvino")
    assert (
        "a: its library cannot be imported (medfuse.features.openvino_network: a lib" in caplog.text
    )
    assert caplog.text.count("frozen networks are computed by openvino") == 1  # before it was known
    assert found.values[0].tobytes() == expected.values[0].tobytes()


def test_requests_that_share_translations_translate_once(kit, caplog, monkeypatch) -> None:
    asked: list[str] = []

    def counted(module, example, lanes):
        asked.append(type(module).__name__)
        if isinstance(module, Untranslatable):
            raise RuntimeError("not in a trace")
        return TorchForward(module, torch.device("cpu"), lanes)

    class Library:
        translate = staticmethod(counted)

    monkeypatch.setattr(forward, "import_module", lambda _: Library)
    sources = kit.Source("a", 8), kit.Source("b", 8)
    sources[1].extractor = Untranslatable()
    cases, shared = kit.cases(kit.images(9)), forward.Translations()
    with caplog.at_level(logging.WARNING, "medfuse"):
        for some in (cases[:3], cases[3:6], cases[6:]):
            kit.extract(some, *sources, engine="openvino", translations=shared)
    assert sorted(asked) == ["ConvNet", "Untranslatable"]
    assert caplog.text.count("so torch computes it") == 1


def test_parts_of_training_are_computed_by_torch(kit) -> None:
    source = kit.Source("a", 8)
    source.as_in_training = True
    request = kit.request(kit.cases(kit.images(2)), source, engine="openvino")
    assert request.engine_of(source) == "torch"


def test_auto_takes_what_is_installed_for_many_images(monkeypatch) -> None:
    absent: set[str] = set()
    monkeypatch.setattr(choice, "find_spec", lambda name: None if name in absent else name)
    many = WORTH_TRANSLATING
    assert choose_engine("auto", "cpu", many) == "openvino"
    assert choose_engine("auto", "cpu", many - 1) == "torch"
    assert choose_engine("auto", "cuda:0", many) == "torch"
    assert choose_engine("openvino", "cpu", 1) == "openvino"
    absent.add("openvino")
    assert choose_engine("auto", "cpu", many) == "onnxruntime"
    with pytest.raises(ConfigError, match=r"openvino cannot be imported.*medfuse\[fast\]"):
        choose_engine("openvino", "cpu", many)
    absent.add("onnx")
    assert choose_engine("auto", "cpu", many) == "torch"
    with pytest.raises(ConfigError, match="computes on processors"):
        choose_engine("onnxruntime", "cuda", many)


def test_similarity_is_of_the_image_that_differs_most() -> None:
    features = torch.eye(3)
    turned = features.clone()
    turned[1] = torch.tensor([1.0, 1.0, 0.0])  # cosine and ratio are the root of 0.5 each
    assert similarity(features, features) == pytest.approx(1.0)
    assert similarity(features, turned) == pytest.approx(0.5)
    assert similarity(features, 2 * features) == pytest.approx(0.5)
    assert similarity(torch.zeros(1, 3), torch.zeros(1, 3)) == 1.0
    assert similarity(torch.zeros(1, 3), torch.ones(1, 3)) < LEAST_SIMILARITY
    assert similarity(features, features * torch.nan) < LEAST_SIMILARITY
    assert similarity(features, features[:2]) < LEAST_SIMILARITY


def test_nothing_is_reported_to_the_vendor(kit, monkeypatch) -> None:
    engine = _library("openvino")
    main = pytest.importorskip("openvino_telemetry.main", reason="no telemetry is installed")
    begun: list[str] = []
    monkeypatch.setattr(main.Telemetry, "init", lambda *_, **__: begun.append("telemetry"))
    kit.extract(kit.cases(kit.images(2)), kit.Source("a", 8), engine=engine)
    assert not begun
    # None was begun before either, by the import: there is one for a process, and it is asked for.
    with contextlib.suppress(Exception):
        import_module(engine).convert_model(torch.nn.ReLU(), example_input=torch.zeros(1, 2))
    assert begun
