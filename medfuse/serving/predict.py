"""Load a bundle once, then predict as often as needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from medfuse.bundle.case_table import inputs_of
from medfuse.bundle.digests import check_digests
from medfuse.bundle.metadata import FORMAT
from medfuse.bundle.runtime import load_network, open_bundle
from medfuse.device import find_device
from medfuse.errors import BundleError, MedfuseError
from medfuse.serving.cases import CaseInput, NamedCase, Table, named_case
from medfuse.serving.inputs import bundle_in
from medfuse.serving.prediction import Answer, Prediction
from medfuse.serving.refusal import Refusal, refusal_of

if TYPE_CHECKING:
    from monai.bundle.config_parser import ConfigParser


@dataclass(frozen=True)
class _Parts:
    """What was built from the bundle; see its ``inference.json``."""

    network: torch.nn.Module
    device: torch.device
    preprocessing: Any
    inferer: Any
    postprocessing: Any
    abstention: Any


@dataclass(frozen=True)
class _Listing:
    """How the bundle finds its cases, and how many it takes at once."""

    suffixes: tuple[str, ...]
    table: Table | None
    batch_size: int


class Predictor:
    """Predictions of one bundle; made by `load_bundle`.

    Attributes:
        metadata: the bundle's ``metadata.json``.
        classes: in the order of the probabilities.
        suffixes: endings of the files the bundle takes for cases; none where it takes a table.
        table: by input, its columns in a table of cases or ``None`` for a file; ``None`` where a
            case is one file.
        volumes: whether a case is one volume, so that a folder of DICOM files is a case.
        thresholds: by label, from which probability on it holds; empty where classes exclude.
        modality: of the images, ``XR``, ``CT``, ``MR`` or ``other``; empty where it takes a table.
        judges: whether the bundle says how far a case lies, and may abstain.
    """

    def __init__(self, parts: _Parts, metadata: dict[str, Any], listing: _Listing) -> None:
        self._parts = parts
        self.metadata = metadata
        formats = metadata["network_data_format"]
        inputs = formats["inputs"]
        self._shapes = {n: (i["num_channels"], *i["spatial_shape"]) for n, i in inputs.items()}
        self.classes: tuple[str, ...] = tuple(formats["outputs"]["pred"]["channel_def"].values())
        self.suffixes = listing.suffixes
        self.table = listing.table
        self.volumes = self.table is None and len(self._shapes["image"]) == 4
        self.modality: str = "" if self.table is not None else inputs["image"]["modality"]
        self._batch_size = listing.batch_size
        self.judges = parts.abstention is not None
        self._exclusive: bool = metadata["medfuse"]["link"] == "softmax"
        given = metadata["medfuse"].get("thresholds") or {}
        self.thresholds = {} if self._exclusive else {c: given.get(c, 0.5) for c in self.classes}

    @property
    def network(self) -> torch.nn.Module:
        """From the canonical inputs of cases, in the order of `input_names`, to their logits."""
        return self._parts.network

    @property
    def policy(self) -> Any:
        """When the bundle abstains, its `medfuse.evaluation.abstention.Abstention`; or ``None``."""
        return self._parts.abstention

    @property
    def preprocessing(self) -> Any:
        """From references by input to canonical images: MONAI's ``Compose`` of the bundle."""
        return self._parts.preprocessing

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the order in which the network takes them."""
        return tuple(self._shapes)

    @property
    def exclusive(self) -> bool:
        """Whether the probabilities of a case are those of a softmax, which sum to 1."""
        return self._exclusive

    def decide(self, probabilities: Mapping[str, float]) -> str:
        """Return the most probable class; of several labels those that hold, joined by ``;``."""
        return ";".join(self.held(probabilities))

    def held(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """Return the most probable class, or those labels that hold; none of no probabilities."""
        if self.exclusive:
            return (max(probabilities, key=probabilities.__getitem__),) if probabilities else ()
        return tuple(n for n, value in probabilities.items() if value >= self.thresholds[n])

    def canonical(self, case: NamedCase) -> dict[str, Any] | Refusal:
        """Return what the network gets of a case, by input, or why it is refused."""
        items = self._canonical(case)
        return (
            Refusal(items.code, case.without_paths(str(items)))
            if isinstance(items, Refusal)
            else items
        )

    def predict(
        self, cases: Sequence[CaseInput], batch_size: int | None = None
    ) -> list[Prediction]:
        """Return one prediction per case, in the same order; a bad case is refused, not guessed.

        Args:
            cases: paths (or ``FILE.npz::KEY::INDEX``), or arrays of stored samples ``(H, W)`` or
                ``(H, W, 3)`` as an ``.npy`` file would hold them. Arrays are named ``array-0``. A
                volume is a file, a folder of DICOM files (or ``FOLDER::KEY``), or an array
                ``(X, Y, Z)``. For several inputs each case is a mapping of these by input name,
                and cells by column for a table row; what it lacks is absent or ``None``, and
                ``case_id`` names it.
            batch_size: cases that go through the network at once; as in the bundle if ``None``.

        Raises:
            BundleError: the network itself failed.
            CohortError: a case is not of the kind that the bundle takes.
        """
        return [answer.prediction for answer in self.answers(cases, batch_size)]

    def answers(
        self, cases: Iterable[CaseInput], batch_size: int | None = None
    ) -> Iterator[Answer]:
        """Yield the answer to each case as its batch is done, so that of many none is kept.

        Args:
            cases: as in `predict`; taken batch by batch.
            batch_size: as in `predict`.

        Raises:
            BundleError: the network itself failed.
            CohortError: a case is not of the kind that the bundle takes.
        """
        numbered = enumerate(cases)
        while chunk := list(islice(numbered, batch_size or self._batch_size)):
            with tempfile.TemporaryDirectory(prefix="medfuse-predict-") as folder:
                named = [named_case(number, case, self.table, folder) for number, case in chunk]
                found = self._answer_batch(named)
            yield from found

    def _stacked(self, cases: Sequence[dict[str, Any]]) -> list[Tensor]:
        """Return one batch for each input of the network."""
        return [
            torch.stack([torch.as_tensor(items[name]).as_subclass(Tensor) for items in cases]).to(
                self._parts.device
            )
            for name in self._shapes
        ]

    def _answer_batch(self, cases: list[NamedCase]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        canonical: dict[int, dict[str, Any]] = {}
        for index, case in enumerate(cases):
            items = self._canonical(case)
            if isinstance(items, Refusal):
                text = case.without_paths(str(items))
                answers[index] = Answer(self._refused(case, Refusal(items.code, text)))
            else:
                canonical[index] = items
        found = list(self._probabilities(canonical))
        judged, features = self._judged(found), self._features(len(found))
        for index, answer, row in zip(canonical, judged, features, strict=True):
            answers[index] = Answer(self._answer(cases[index], *answer), row)
        return [answers[index] for index in range(len(cases))]

    def _features(self, cases: int) -> Sequence[np.ndarray | None]:
        """Return the features of the last batch, by case."""
        if not self.judges or not cases:
            return [None] * cases
        return list(self._parts.inferer.features.numpy())

    def _canonical(self, case: NamedCase) -> dict[str, Any] | Refusal:
        if not case.items:
            return Refusal("NO_INPUT", "the case has no input at all")
        try:
            items: dict[str, Any] = self._parts.preprocessing(dict(case.items))
        except Exception as error:  # noqa: BLE001 - decoders raise anything; it becomes the answer
            return refusal_of(error)
        for name in case.items:
            found, expected = tuple(items[name].shape), self._shapes[name]
            if found != expected:
                return Refusal("WRONG_SHAPE", f"canonical {name} {found}, not {expected}")
            if not bool(torch.isfinite(torch.as_tensor(items[name])).all()):
                return Refusal(
                    "NON_FINITE", f"the canonical {name} holds values that are not finite"
                )
        return items

    def _probabilities(self, canonical: dict[int, dict[str, Any]]) -> Iterator[list[float]]:
        if not canonical:
            return
        parts, cases = self._parts, list(canonical.values())
        first, *others = self._stacked(cases)
        try:
            with torch.inference_mode():
                logits = parts.inferer(first, parts.network, *others)
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(f"the bundle's network failed ({error}).") from error
        for items, row in zip(cases, logits, strict=True):
            answer = parts.postprocessing({**items, "pred": row.cpu().clone()})
            yield torch.as_tensor(answer["pred"]).flatten().tolist()

    def _judged(self, found: list[list[float]]) -> list[tuple[list[float], Any]]:
        """Return the probabilities of the last batch, each with what the bundle thinks of them."""
        if not self.judges or not found:
            return [(values, None) for values in found]
        inferer, policy = self._parts.inferer, self._parts.abstention
        judged = policy.from_features(found, inferer.features.numpy(), inferer.present.numpy())
        return list(zip(found, judged, strict=True))

    def _answer(self, case: NamedCase, values: list[float], judgement: Any) -> Prediction:
        if not np.isfinite(values).all():
            reason = Refusal("NON_FINITE_OUTPUT", "the network gave no finite value")
            return self._refused(case, reason)
        named = dict(zip(self.classes, values, strict=True))
        answer = Prediction(
            case=case.name,
            status="ok",
            inputs=self._inputs(case),
            predicted=self.decide(named),
            probabilities=named,
        )
        if judgement is None:
            return answer
        return replace(
            answer,
            status=judgement.status,
            reason_code=judgement.reason_code,
            reason=judgement.reason,
            predicted=answer.predicted if judgement.status == "ok" else "",
            conformal_set=tuple(judgement.conformal_set),
            distances=dict(judgement.distances),
        )

    def _refused(self, case: NamedCase, refusal: Refusal) -> Prediction:
        return Prediction(
            case=case.name,
            status="refused",
            reason_code=refusal.code,
            reason=str(refusal),
            inputs=self._inputs(case),
        )

    def _inputs(self, case: NamedCase) -> tuple[str, ...]:
        return () if self.table is None else tuple(case.items)


def load_bundle(path: Path | str, device: str = "auto") -> Predictor:
    """Return a predictor that runs the bundle's own preprocessing, network and postprocessing.

    The configurations and scripts of a bundle are code, and are executed: load only bundles from
    somebody you trust. Digests are checked first; they show damage, not forgery.

    Args:
        path: folder of a bundle, or of the run that it lies in.
        device: ``auto``, ``cpu``, ``cuda:0`` ...

    Raises:
        BundleError: the folder holds no whole bundle of medfuse, or it cannot be built.
        ConfigError: the device does not exist here.
    """
    root = bundle_in(path)
    check_digests(root)
    chosen = find_device(device)
    try:
        with open_bundle(root) as parser:
            parser["device"] = chosen
            metadata = parser["_meta_"]
            _check_format(metadata, root)
            parts = _Parts(
                load_network(parser, root, chosen),
                chosen,
                parser.get_parsed_content("preprocessing"),
                parser.get_parsed_content("inferer"),
                parser.get_parsed_content("postprocessing"),
                parser.get_parsed_content("abstention") if parser.get("abstention") else None,
            )
            return Predictor(parts, metadata, _listing(parser))
    except MedfuseError:
        raise
    except Exception as error:  # configurations are programs: they may raise anything
        cause = refusal_of(error)
        raise BundleError(f"{root}: cannot be built ({cause}).") from error


def _check_format(metadata: dict[str, Any], root: Path) -> None:
    found = metadata.get("medfuse", {}).get("format")
    if found != FORMAT:
        raise BundleError(
            f"{root}: bundle format {found}, expected {FORMAT}. "
            "Use the medfuse version that wrote it, or write it anew."
        )


def _listing(parser: ConfigParser) -> _Listing:
    text = parser.get("case_inputs")
    return _Listing(
        tuple(parser.get("suffixes") or ()),
        inputs_of(text) if text else None,
        int(parser["batch_size"]),
    )
