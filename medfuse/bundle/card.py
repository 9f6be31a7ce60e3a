"""The model card and the license file, in words for whoever receives the bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from medfuse.bundle.license_gate import accepted_terms
from medfuse.bundle.licenses import strictest
from medfuse.bundle.metadata import copyright_of, description, in_words, intended_use, license_of
from medfuse.bundle.names import bundle_folder_name
from medfuse.bundle.nodes import reads_dicom
from medfuse.bundle.request import BundleRequest, InputSpec, SourceRecord
from medfuse.bundle.requirements import optional_decoders

_CLASS_TABLE = (
    "`DATA/train` and `DATA/val` may hold `labels.csv` (columns `image`, relative to it, and "
    "`label`) in place of class folders. "
)


def model_card(
    request: BundleRequest, left_out: Mapping[str, str], packages: dict[str, str]
) -> str:
    """Return ``docs/README.md``.

    Args:
        request: what the bundle is made of.
        left_out: file -> why it is not there.
        packages: distribution -> version that must be installed.
    """
    sections = {
        "Intended use": intended_use(request),
        "Labels" if request.link == "sigmoid" else "Classes": _classes(request),
        "Input": _input(request),
        "Sources": _sources(request.provenance.sources),
        "Training data": request.data,
        "Performance": _metrics(request.metrics),
        **_calibration(request),
        **({"When it gives no answer": _abstention(request)} if request.abstention else {}),
        "Limits": "\n".join(f"- {text}" for text in _limits(request)),
        "Authors": f"{request.authors}\n\n{copyright_of(request)}",
        "License": _license(request),
        "How to run": _how_to_run(request, packages),
        "Measuring it on your data": _measuring(request, left_out),
        "Fine-tuning": _fine_tuning(request, left_out),
        "Files left out": "\n".join(f"- `{f}`: {why}" for f, why in left_out.items()) or "None.",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {request.name}\n\n{description(request)}\n\n{body}\n"


def license_text(request: BundleRequest) -> str:
    """Return ``LICENSE``: the terms of each part, then the text for the code."""
    parts = [f"- weights derived from {s.label}: {s.license}" for s in request.provenance.sources]
    apache = files("medfuse.bundle").joinpath("apache-2.0.txt").read_text(encoding="utf-8")
    head = [
        f"SPDX-License-Identifier: {license_of(request)}",
        "",
        "The bundle as a whole is under the license above, the strictest of its parts:",
        "- code in scripts/ and configs/: Apache-2.0, text below",
        *parts,
    ]
    return "\n".join(head) + "\n\n" + apache


def limits(unit: str, classes: int, link: str = "softmax") -> tuple[str, ...]:
    """Return what a classifier cannot do, one sentence each.

    Args:
        unit: what is classified: ``image``, ``volume`` or ``case``.
        classes: how many answers there are.
        link: ``sigmoid`` where several of them may hold.
    """
    answer = f"Every {unit} gets one of {classes} answers, also one that shows none of them."
    if link == "sigmoid":
        answer = f"Only these {classes} labels are looked for; none of them does not mean healthy."
    return (
        "Images from other scanners, sites, populations or diseases than in the training data "
        "may be classified wrongly with high probability; measure on your own data first.",
        answer,
        "Probabilities hold for the class frequencies of the training data.",
        "Configurations and scripts of a bundle are code: run it only if you trust its origin. "
        "SHA256SUMS shows damage, not forgery; a signature of it would.",
    )


def _limits(request: BundleRequest) -> tuple[str, ...]:
    return limits(_unit(request), len(request.classes), request.link)


def _classes(request: BundleRequest) -> str:
    """Return the classes in their order; of labels from which probability on each holds."""
    if request.link == "softmax":
        return "\n".join(f"{i}. {name}" for i, name in enumerate(request.classes))
    limits = request.thresholds or (0.5,) * len(request.classes)
    pairs = zip(request.classes, limits, strict=True)
    rows = [f"| {name} | {limit:.3f} |" for name, limit in pairs]
    head = "Several can hold at once, or none. A label is said to hold from its threshold on."
    return "\n".join([head, "", "| label | threshold |", "|---|---|", *rows])


def _abstention(request: BundleRequest) -> str:
    """Return when the bundle abstains, in words; where it does not, that it tells the distance."""
    policy = request.abstention
    assert policy is not None
    unit, reasons = _unit(request), []
    if policy.out_of_distribution:
        reasons.append(f"the {unit} lies too far from the training cases (`OUT_OF_DISTRIBUTION`)")
    if policy.confidence:
        reasons.append(f"its probability is below {policy.confidence:g} (`LOW_CONFIDENCE`)")
    if policy.largest_set:
        reasons.append(f"more than {policy.largest_set} classes remain (`AMBIGUOUS_SET`)")
    said = f"It abstains where {', or '.join(reasons)}." if reasons else "It never abstains."
    return (
        f"{said} The column `status` of `predictions.csv` says so, `reason_code` why; `distance` "
        "above 1 is farther than what is like the training cases. The applications that `medfuse "
        "bundle export` writes tell it too; clients of MONAI Label, its stock application and "
        "MONAI Deploy's own operator show probabilities only. The thresholds are under "
        "`abstention` in `configs/inference.json`, and can be given to the command, for example "
        "`--abstention#confidence 0.8`."
    )


def _calibration(request: BundleRequest) -> dict[str, str]:
    """Return how probabilities were calibrated, of a bundle that a run wrote."""
    details = request.provenance.details
    method = details.get("calibration", {}).get("method")
    if method is None:
        return {}
    said = {
        "none": "Probabilities are as the network gives them.",
        "temperature": f"All logits are divided by {details['temperature']:.3f}.",
        "dirichlet": "Log-probabilities go through a linear map (`dirichlet`).",
        "isotonic": "Log-odds of each class go through a rising map (`isotonic`).",
    }[method]
    return {"Calibration": f"{said} It was fitted on: {details['calibrated_on']}."}


def _input(request: BundleRequest) -> str:
    if request.from_table:
        rows = [f"- `{key}`: {_row(spec)}" for key, spec in request.keyed.items()]
        lacking = "all needed" if request.all_inputs_needed else "one that it lacks is left blank"
        return "\n".join([f"A case has these inputs; {lacking}.", "", *rows])
    spec, kinds = request.inputs[0], ", ".join(request.endings)
    dicom = "DICOM file" if spec.kind == "image" else "series of DICOM files"
    files = f"file ({kinds}) or {dicom}"
    return (
        f"One {in_words(spec)} per {files}. The bundle's own preprocessing makes "
        f"it {_size(spec)}, float32 in [0, 1].{_other_depths(request)}"
    )


def _other_depths(request: BundleRequest) -> str:
    """Return what becomes of DICOM and deeper images where training saw 8-bit pictures."""
    reader = request.preprocessing_nodes[request.inputs[0].name][0].get("reader")
    others = reader.get("others") if isinstance(reader, Mapping) else None
    if not isinstance(reader, Mapping) or not isinstance(others, Mapping):
        return ""
    low, high = others["percentiles"]
    window = others.get("window")
    ct = f", CT of DICOM between {window[0]:g} and {window[1]:g} HU" if window else ""
    return (
        f" Training saw {reader['bits']}-bit pictures. Files of another depth are made such: "
        f"X-rays of DICOM by the window in the file, all else between percentiles {low:g} and "
        f"{high:g} of the image{ct}."
    )


def _row(spec: InputSpec) -> str:
    if spec.kind == "tabular":
        return (
            f"columns {', '.join(f'`{name}`' for name in spec.columns)}, as {spec.channels} numbers"
        )
    return f"{in_words(spec)}, made {_size(spec)}, float32 in [0, 1]"


def _size(spec: InputSpec) -> str:
    return " x ".join(map(str, spec.shape))


def _sources(sources: Sequence[SourceRecord]) -> str:
    rows = [
        f"| {s.label} | {s.domain or 'not stated'} | {s.license} | "
        f"{_provider(s)} | `{s.digest[:16]}` |"
        for s in sources
    ]
    head = "| source | trained on | license | provider | weights (SHA-256) |\n|---|---|---|---|---|"
    cited = [f"- {s.label}: {s.citation}" for s in sources if s.citation]
    read = [f"- {s.label}: {_reading(s.reading)}" for s in sources if s.reading]
    chain = [f"- {s.label}: {_earlier(s.earlier)}" for s in sources if s.earlier]
    notes = "\n".join([*cited, *read, *chain])
    return "\n".join([head, *rows]) + (f"\n\n{notes}" if notes else "")


def _reading(reading: Mapping[str, Any]) -> str:
    """``container state_dict, remap {"model.": ""}, key format lightning``."""
    facts = (f"{name.replace('_', ' ')} `{json.dumps(value)}`" for name, value in reading.items())
    return f"its weights were read with {', '.join(facts)}"


def _earlier(earlier: Mapping[str, Any]) -> str:
    """``taken out of bundle "a", trained there from timm:resnet18.a1_in1k, ...``."""
    what = "trained there" if earlier.get("trained") else "frozen there"
    step = f"taken out of bundle {earlier.get('bundle')}, {what} from {earlier.get('source')}"
    before = earlier.get("earlier")
    return f"{step}, which was {_earlier(before)}" if isinstance(before, Mapping) else step


def _provider(source: SourceRecord) -> str:
    """``medfuse-mini 0.1.0 (timm 1.0.31)``."""
    built_from = ", ".join(f"{name} {version}" for name, version in source.libraries.items())
    known = f"{source.package} {source.version}".strip()
    return (
        f"{known} ({built_from})" if known and built_from else known or built_from or "not stated"
    )


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {value} |" for name, value in _flat(metrics)]
    if not rows:
        return "Not measured."
    head = "Measured on the test cases, with confidence intervals where they are given."
    return "\n".join([head, "", "| measure | value |", "|---|---|", *rows])


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in metrics.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            estimate = _estimate(value)
            yield from [(name, estimate)] if estimate else _flat(value, f"{name}, ")
        elif isinstance(value, int | float | str) or value is None:
            yield name, _number(value)


def _estimate(value: Mapping[str, Any]) -> str:
    """``0.93 (0.90 to 0.95)`` of ``{"value": .., "low": .., "high": ..}``; else empty."""
    if "value" not in value:
        return ""
    low, high = value.get("low"), value.get("high")
    interval = f" ({_number(low)} to {_number(high)})" if None not in (low, high) else ""
    return _number(value["value"]) + interval


def _number(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _license(request: BundleRequest) -> str:
    verdict = strictest([*(s.license for s in request.provenance.sources), license_of(request)])
    commercial = {
        True: "No part forbids commercial use.",
        False: "A part forbids commercial use.",
        None: "Commercial use is open: the terms of a part are not known.",
    }[verdict.commercial]
    unknown = f" Unknown to medfuse: {', '.join(verdict.unknown)}." if verdict.unknown else ""
    accepted = [
        f"- {name} {terms}." for name, terms in accepted_terms(request.part_licenses).items()
    ]
    said = "\n\nAccepted by who made this bundle, and binding for who uses it:\n\n"
    terms = said + "\n".join(accepted) if accepted else ""
    return f"{license_of(request)} (see `LICENSE`). {commercial}{unknown}{terms}"


def _how_to_run(request: BundleRequest, packages: dict[str, str]) -> str:
    needed = " ".join(f"{name}=={version}" for name, version in packages.items())
    folder = bundle_folder_name(request.name)
    table = "$IN/cases.csv" if request.from_table else "$IN"
    return (
        f"`B` is the absolute path of this folder (`{folder}`), `IN` {_given(request)}, `OUT` "
        "the folder for `predictions.csv`. medfuse is not needed.\n\n"
        f"```\npip install torch monai {needed}\n```\n\n{_decoders(request)}"
        "```sh\npython -m monai.bundle run --config_file $B/configs/inference.json "
        "--bundle_root $B --dataset_dir $IN --output_dir $OUT\n```\n\n"
        f"With medfuse: `medfuse predict $B {table} --out predictions.csv`, and "
        f"`medfuse bundle verify $B`. {_hosts(request)}"
    )


def _decoders(request: BundleRequest) -> str:
    """Return what to install for compressed DICOM, as a paragraph; empty where none is read."""
    decoders = " ".join(optional_decoders(reads_dicom(request)))
    if not decoders:
        return ""
    return (
        f"Optional, for compressed DICOM files: `pip install {decoders}`. Without them JPEG, "
        "JPEG-LS and JPEG 2000 files are refused with the code `NO_DECODER`; uncompressed, "
        "deflated and RLE files need none.\n\n"
    )


def _unit(request: BundleRequest) -> str:
    return "case" if request.from_table else request.inputs[0].kind


def _given(request: BundleRequest) -> str:
    if request.from_table:
        names = ", ".join(f"`{name}`" for name in _columns(request))
        return f"a folder with `cases.csv` (columns `case_id`, {names}; paths relative to it)"
    if request.inputs[0].kind == "volume":
        return "a folder of volumes (a folder of DICOM files is one)"
    return "a folder of images"


def _columns(request: BundleRequest) -> Iterator[str]:
    for key, spec in request.keyed.items():
        yield from spec.columns if spec.kind == "tabular" else [key]


def _hosts(request: BundleRequest) -> str:
    if request.from_table:
        return "MONAI Label and MONAI Deploy hand a network one image, so they cannot run it."
    return (
        "For MONAI Label, `medfuse bundle export $B --for label --out APP` writes an app, with "
        "`--for deploy` an application for MONAI Deploy."
    )


def _fine_tuning(request: BundleRequest, left_out: Mapping[str, str]) -> str:
    if "configs/train.json" in left_out:
        return f"Not possible here: {left_out['configs/train.json']}."
    several = request.link == "sigmoid"
    where, further = _new_labels(request), _CLASS_TABLE
    if several:
        where, further = f"{where} {_best(request)}", ""
    return (
        f"{where} Frozen parts stay frozen. The result is `models/model_candidate.pt`; "
        "`--ckpt_path` predicts with it. The other files, "
        f"{'the calibration, the thresholds' if several else 'the temperature'} and the "
        "performance above still belong to the old weights.\n\n"
        "```\npython -m monai.bundle run --config_file $B/configs/train.json --bundle_root $B "
        "--dataset_dir $DATA\n```\n\n"
        f"{further}On several GPUs, `torchrun --standalone "
        "--nproc_per_node N -m monai.bundle run --config_file \"['$B/configs/train.json',"
        "'$B/configs/multi_gpu_train.json']\"` and the same options."
    )


def _new_labels(request: BundleRequest) -> str:
    """Return where the images go that are learned from."""
    if request.link == "softmax":
        return f"Put new {_unit(request)}s into `DATA/train/<class>/` and `DATA/val/<class>/`."
    return f"Write `DATA/train/labels.csv` and `DATA/val/labels.csv`: {_label_columns(request)}."


def _label_columns(request: BundleRequest) -> str:
    names = ", ".join(f"`{name}`" for name in request.classes)
    return (
        f"columns `image` (a path relative to the table) and {names}, each cell 1, 0, or blank "
        "where the answer is unknown, which then counts neither in the loss nor in a metric"
    )


def _best(request: BundleRequest) -> str:
    """Return what chooses the candidate, and what the answers weigh."""
    weights = request.label_weights
    said = {
        "none": "All answers weigh the same",
        "balanced": "Both answers of a label weigh the same, by their numbers in `train`",
    }.get(str(weights), "The positive answers have the weights of the training")
    return (
        f"{said} (`label_weights` in `train.json`). The weights of lowest loss on `val` are kept, "
        "those it starts from among them."
    )


def _measuring(request: BundleRequest, left_out: Mapping[str, str]) -> str:
    if "configs/evaluate.json" in left_out:
        return f"Not possible by MONAI alone: {left_out['configs/evaluate.json']}."
    where = "Put labelled images into `DATA/<class>/`, or name them in `DATA/labels.csv`."
    what = (
        "accuracy, AUROC, sensitivity, precision and F1 (averaged over classes), over all cases, "
        "abstentions among them"
    )
    if request.link == "sigmoid":
        where = f"Write `DATA/labels.csv`: {_label_columns(request)}."
        what = (
            "accuracy (the share of known answers that are right at the thresholds), AUROC, "
            "sensitivity, precision and F1 (means over the labels of which both answers occur), "
            "over all cases, abstentions among them"
        )
    return (
        f"{where} `metrics.csv` holds {what}; `predictions.csv` a row for each case.\n\n"
        "```\npython -m monai.bundle run --config_file $B/configs/evaluate.json --bundle_root $B "
        "--dataset_dir $DATA --output_dir $OUT\n```"
    )
