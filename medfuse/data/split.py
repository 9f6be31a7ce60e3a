"""Give every case its part: stratified by label, site and inputs, grouped by patient and pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from medfuse.config import SplitConfig
from medfuse.data.allocate import allocate
from medfuse.data.allocate_labels import allocate_labels
from medfuse.data.cohort import Case, Cohort, Role, contradictory
from medfuse.data.digests import Digests
from medfuse.data.events import Event
from medfuse.data.groups import link_cases
from medfuse.data.sites import with_held_out_site
from medfuse.errors import CohortError, ConfigError

ALGORITHM = "greedy-stratified-groups-3"
LABELS_ALGORITHM = "iterative-stratified-groups-1"
_LOGGER = logging.getLogger("medfuse")


def assign_roles(cohort: Cohort, config: SplitConfig, digests: Digests | None = None) -> Cohort:
    """Return the cohort with a role for every case; the same for any order of the cases.

    Roles that the source gives stay. Cases without one are divided; where all have one, the
    missing parts are taken out of the training part. Fractions are of the cases divided. With
    ``folds``, each case gets a fold, and the cases of fold ``fold`` are the test part; another
    ``repeat`` is another division into folds. With ``hold_out_site``, its cases are the test part,
    and with them all cases of patients who were there.

    Args:
        cohort: after `medfuse.data.leaks.resolve_leaks`, if the source gives roles.
        config: fractions, folds and seed.
        digests: pixel digests by case id; cases with identical pixels stay on one side.

    Raises:
        CohortError: fewer than two classes, a class with one case, too few patients for a test
            part, a given test part beside ``folds`` or ``hold_out_site``, or no such site.
        ConfigError: the fractions leave nothing for training, or ``fold`` is no fold.
    """
    check_divisible(cohort, config)
    groups = link_cases(cohort.cases, digests)
    cases = {case.case_id: case for case in cohort.cases}
    if config.folds is not None:
        cases = _with_folds(cohort, groups, config)
    if config.hold_out_site is not None:
        cases = with_held_out_site(cohort, config.hold_out_site)
    cases = _follow_given(cases, groups)
    cases = _fill(cases, groups, config, _allocation(cohort))
    done = cohort.with_cases([cases[case.case_id] for case in cohort.cases], _notes(cohort))
    _require_training_classes(done)
    _require_test(done, len(groups), config)
    return done.with_cases(done.cases, (*_thin_parts(done), *_empty_parts(done, config)))


def check_divisible(cohort: Cohort, config: SplitConfig) -> None:
    """Refuse what no division can help, before any image is read.

    Raises:
        CohortError: fewer than two classes, or a class with one case.
        ConfigError: the fractions leave nothing for training, or ``fold`` is no fold.
    """
    _require_two_classes(cohort)
    _require_room_for_training(config)


def _require_two_classes(cohort: Cohort) -> None:
    if not cohort.cases:
        raise CohortError(f"{cohort.root}: the cohort has no case, expected at least two classes.")
    repeated = len(cohort.cases) - len({case.case_id for case in cohort.cases})
    if repeated:
        raise CohortError(f"{cohort.root}: {repeated} case_ids occur twice, expected unique ids.")
    if cohort.multilabel:
        _require_both_answers(cohort)
        return
    labels = [case.label for case in cohort.cases if case.label is not None]
    present = [name for index, name in enumerate(cohort.classes) if index in labels]
    if len(present) < 2:
        found = f"one class ({present[0]})" if present else "no labelled case"
        raise CohortError(f"{cohort.root}: found {found}, expected at least two classes.")
    for index, name in enumerate(cohort.classes):
        count = labels.count(index)
        if count < 2:
            raise CohortError(
                f"{cohort.root}: class {name!r} has {count} case{'s' * (count != 1)}, expected at "
                "least two. Add cases, or leave the class out."
            )


def _require_both_answers(cohort: Cohort) -> None:
    """Of each label some cases must have it, and some must be known not to."""
    if len(cohort.classes) < 2:
        found = f"one label ({cohort.classes[0]})" if cohort.classes else "no label"
        raise CohortError(
            f"{cohort.root}: found {found}, expected at least two. Check cohort.label and "
            "cohort.label_separator; for one label alone, give it a column of classes."
        )
    for index, name in enumerate(cohort.classes):
        held, absent = cohort.answers(index)
        if min(held, absent) < 2:
            raise CohortError(
                f"{cohort.root}: label {name!r} holds in {held} and is absent in {absent} cases, "
                "expected at least two of each. Add cases, or leave the label out."
            )


def _require_room_for_training(config: SplitConfig) -> None:
    tested = 0 if config.folds or config.hold_out_site is not None else config.test
    taken = config.validation + config.calibration + tested
    if taken >= 1:
        raise ConfigError(
            f"cohort.split: test, validation and calibration take {taken:g} of the cases, "
            "expected less than 1 so that some are left for training."
        )
    if config.folds is not None and config.fold >= config.folds:
        raise ConfigError(
            f"cohort.split.fold is {config.fold}, expected 0 to {config.folds - 1} "
            f"for {config.folds} folds."
        )


def _with_folds(
    cohort: Cohort, groups: Sequence[Sequence[Case]], config: SplitConfig
) -> dict[str, Case]:
    folds = config.folds or 0
    if any(case.role == "test" for case in cohort.cases):
        raise CohortError(
            f"{cohort.root}: the source gives a test part and cohort.split.folds is {folds}; "
            "expected one of the two. Remove folds, or list the cases without a test part."
        )
    numbers = _fold_numbers(cohort, groups, config)
    return {
        case.case_id: replace(
            case,
            fold=numbers[case.case_id],
            repeat=config.repeat,
            role="test" if numbers[case.case_id] == config.fold else None,
        )
        for case in cohort.cases
    }


def _fold_numbers(
    cohort: Cohort, groups: Sequence[Sequence[Case]], config: SplitConfig
) -> dict[str, int]:
    folds = config.folds or 0
    given = {case.case_id: case.fold for case in cohort.cases if case.fold is not None}
    if given and len(given) == len(cohort.cases) and set(given.values()) == set(range(folds)):
        return given
    if given:
        raise CohortError(
            f"{cohort.root}: the fold column holds {len(set(given.values()))} folds for "
            f"{len(given)} of {len(cohort.cases)} cases, expected 0 to {folds - 1} for all."
        )
    if len(groups) < folds:
        raise CohortError(
            f"{cohort.root}: {len(groups)} patients cannot fill {folds} folds. Set fewer folds."
        )
    shares = {str(fold): 1 / folds for fold in range(folds)}
    seed = f"{config.seed}|folds{_repeated(config)}"
    placed = _allocation(cohort)(groups, shares, seed)
    return {case_id: int(fold) for case_id, fold in placed.items()}


def _allocation(cohort: Cohort) -> Callable[..., dict[str, str]]:
    return allocate_labels if cohort.multilabel else allocate


def _repeated(config: SplitConfig) -> str:
    return f"|{config.repeat}" if config.repeat else ""


def _follow_given(cases: Mapping[str, Case], groups: Iterable[Sequence[Case]]) -> dict[str, Case]:
    """A case without a role joins the part that its patient or its picture is in already."""
    placed = dict(cases)
    order: tuple[Role, ...] = ("test", "calibration", "validation", "train")
    for group in groups:
        roles = {placed[case.case_id].role for case in group}
        given = next((role for role in order if role in roles), None)
        for case in group:
            if placed[case.case_id].role is None and given is not None:
                placed[case.case_id] = replace(placed[case.case_id], role=given)
    return placed


def _fill(
    cases: Mapping[str, Case],
    groups: Iterable[Sequence[Case]],
    config: SplitConfig,
    allocation: Callable[..., dict[str, str]],
) -> dict[str, Case]:
    """Divide the cases without a role, or else the training part, over the missing parts."""
    given = {case.role for case in cases.values()}
    source = None if None in given else "train"
    pool = [
        members
        for group in groups
        if (members := [cases[c.case_id] for c in group if cases[c.case_id].role == source])
    ]
    shares = {part: f for part, f in _fractions(config).items() if f > 0 and part not in given}
    if not shares and source == "train":
        return dict(cases)
    seed = f"{config.seed}|{config.fold if config.folds else 'parts'}{_repeated(config)}"
    parts = allocation(pool, {"train": 1 - sum(shares.values()), **shares}, seed)
    filled = dict(cases)
    for case_id, part in parts.items():
        filled[case_id] = replace(filled[case_id], role=part)  # type: ignore[arg-type]
    return filled


def _fractions(config: SplitConfig) -> dict[str, float]:
    return {
        "test": 0.0 if config.folds or config.hold_out_site is not None else config.test,
        "validation": config.validation,
        "calibration": config.calibration,
    }


def _notes(cohort: Cohort) -> list[Event]:
    """Name the patients with several labels by their cases: allowed, but worth a look."""
    patients: dict[str, list[Case]] = {}
    for case in cohort.cases:
        if case.labeled:
            patients.setdefault(case.patient_id, []).append(case)
    several = [cases for cases in patients.values() if contradictory(cases)]
    return [
        Event("PATIENT_WITH_SEVERAL_LABELS", cases[0].case_id, _several(cases)) for cases in several
    ]


def _several(cases: Sequence[Case]) -> str:
    if cases[0].findings:
        return "a label holds in one case of the patient and not in another"
    return f"{len({case.label for case in cases})} labels in one patient"


def _require_training_classes(cohort: Cohort) -> None:
    if cohort.multilabel:
        _require_training_answers(cohort)
        return
    found = {case.label for case in cohort.part("train")}
    missing = [name for index, name in enumerate(cohort.classes) if index not in found]
    if missing:
        raise CohortError(
            f"{cohort.root}: the training part has no case of {', '.join(missing)}. Add patients "
            "of that class, or make the other parts smaller."
        )


def _require_training_answers(cohort: Cohort) -> None:
    for index, name in enumerate(cohort.classes):
        held, absent = cohort.answers(index, "train")
        if not held or not absent:
            raise CohortError(
                f"{cohort.root}: label {name!r} holds in {held} and is absent in {absent} cases of "
                "the training part, expected some of each. Add patients, or make the other parts "
                "smaller."
            )


def _thin_parts(cohort: Cohort) -> list[Event]:
    events = []
    for role, row in cohort.counts().items():
        missing = [name for name in cohort.classes if not row[name]]
        if missing:
            detail = f"no case of {', '.join(missing)}"
            _LOGGER.warning("the %s part has %s", role, detail)
            events.append(Event("CLASS_ABSENT_FROM_PART", role, detail))
    return events


def _require_test(cohort: Cohort, patients: int, config: SplitConfig) -> None:
    if not (config.folds or config.test > 0) or cohort.part("test"):
        return
    others = [part for part, fraction in _fractions(config).items() if fraction > 0]
    parts = list(dict.fromkeys(("train", "test", *others)))
    raise CohortError(
        f"{cohort.root}: the test part is empty: found {patients} patient{'s' * (patients != 1)}, "
        f"expected at least {len(parts)}, one each for {', '.join(parts)}. Add patients, or check "
        "cohort.group and cohort.group_pattern."
    )


def _empty_parts(cohort: Cohort, config: SplitConfig) -> list[Event]:
    roles: tuple[Role, ...] = ("validation", "calibration")
    fractions = _fractions(config)
    empty = [role for role in roles if fractions[role] > 0 and not cohort.part(role)]
    for role in empty:
        _LOGGER.warning("the %s part is empty: too few patients", role)
    return [Event("PART_EMPTY", role, "too few patients") for role in empty]
