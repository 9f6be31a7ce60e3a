"""Fill the bank with the features of an experiment, alone or by several processes."""

from __future__ import annotations

from medfuse.config import Experiment
from medfuse.features.bank import FeatureBank
from medfuse.processes import Shard
from medfuse.registry import load_registry
from medfuse.workflows.extract import Banked, bank_features, load_networks, with_tables
from medfuse.workflows.prepare import prepare_cohort, prepared_input
from medfuse.workflows.settle import SettledCohort, settle_cohort, settle_head


def fill_bank(
    experiment: Experiment,
    shard: Shard | None = None,
    *,
    download: bool = False,
    progress: bool = True,
) -> Banked:
    """Compute the features that a training of ``experiment`` needs, and keep them in the bank.

    Of several processes each reads and computes its share of the cases. They share one bank, or
    have one each, to be merged (`medfuse.features.merge.merge_banks`). With one bank they also
    share the memo of digests, so that each image is decoded by one of them for its digest.

    Args:
        experiment: says where the cases are, and what is extracted.
        shard: which share is this process's; all without one.
        download: allow weights to be fetched.
        progress: tell on stderr how far the first share is, see `medfuse.progress`.

    Returns:
        How many distinct images of the share were known, and computed.

    Raises:
        MedfuseError: as in a training, up to the extraction.
    """
    shard = shard or Shard()
    progress = progress and shard.first
    registry = load_registry()
    bank = FeatureBank(experiment.bank.path, experiment.bank.budget_gb)
    settled = settle_cohort(experiment, bank)
    experiment = settle_head(experiment, settled.cohort)
    networks = load_networks(
        experiment,
        registry,
        {name: found.config for name, found in settled.inputs.items()},
        download=download,
    )
    digest_shares(settled, bank, shard, progress=progress)
    prepared = prepare_cohort(experiment, bank, settled=settled, progress=progress)
    one = on_own_device(experiment, shard)
    sources = with_tables(one, networks, prepared)
    rows = shard.of(range(len(prepared.cohort.cases)))
    found = bank_features(one, prepared, sources, rows, progress=progress)
    return Banked(shard.total(found.known), shard.total(found.computed))


def digest_shares(
    settled: SettledCohort, bank: FeatureBank, shard: Shard, *, progress: bool = True
) -> None:
    """Have each of several processes digest its share of the images; all wait for all."""
    if shard.count == 1:
        return
    own = settled.cohort.with_cases(shard.of(settled.cohort.cases))
    for name, read in settled.inputs.items():
        prepared_input(name, read, own, bank, progress)
    shard.total(0)


def on_own_device(experiment: Experiment, shard: Shard) -> Experiment:
    """Return the experiment with a GPU of this process's own, unless it asks for the processor."""
    asked = experiment.training.device
    one_of_many = shard.count > 1 and asked.startswith("cuda")
    device = shard.device("auto" if one_of_many else asked)
    training = experiment.training.model_copy(update={"device": device})
    return experiment.model_copy(update={"training": training})
