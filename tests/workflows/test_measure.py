"""Metrics that plugins bring: loaded before anything is computed, named without clashes."""

from __future__ import annotations

import numpy as np
import pytest

from medfuse.config import EvaluationConfig
from medfuse.errors import ConfigError, PluginError
from medfuse.evaluation import EvaluationSettings, Predictions, built_in_metrics, evaluate
from medfuse.registry import load_registry
from medfuse.workflows.measure import load_metrics
from medfuse.workflows.train import train

PLUGIN = """
from medfuse.contract import *

@hookimpl
def medfuse_metrics():
    yield MetricSpec(name="NAME", summary="s", factory="MODULE:make", requires=(REQUIRES),
                     options=(Option(name="beta", kind="float", default=1.0, minimum=0.5),))
"""
METRIC = "def make(beta):\n    return lambda labels, probabilities: BODY\n"
LABELS = np.array([0, 1, 0, 1])


@pytest.fixture
def metric_plugin(install_plugin):
    """Install a plugin with one metric; its value is ``body``."""

    def install(plugin: str, name: str = "score", body: str = "0.5", requires: str = "") -> None:
        module = f"{plugin}_metric"
        source = PLUGIN.replace("NAME", name).replace("MODULE", module)
        code = METRIC.replace("BODY", body)
        install_plugin(plugin, source.replace("REQUIRES", requires), **{module: code})

    return install


def metrics(**options):
    return load_metrics(load_registry(), EvaluationConfig(metrics=options))


def overall(**options):
    cases = Predictions(LABELS, np.eye(2)[LABELS], ("no", "yes"))
    return evaluate(cases, EvaluationSettings(bootstrap=5), metrics(**options))["overall"]


def test_a_metric_is_reported_under_its_name(metric_plugin) -> None:
    metric_plugin("acme")
    assert overall()["score"]["value"] == 0.5


def test_two_metrics_of_one_name_are_both_reported(metric_plugin) -> None:
    metric_plugin("acme", body="0.25")
    metric_plugin("bolt", body="0.75")
    found = overall()
    assert "score" not in found
    assert (found["acme:score"]["value"], found["bolt:score"]["value"]) == (0.25, 0.75)


@pytest.mark.parametrize("name", ["accuracy", "ece", "brier"])
def test_a_metric_named_like_a_built_in_one_is_qualified(metric_plugin, name: str) -> None:
    metric_plugin("acme", name)
    found = overall()
    assert found[f"acme:{name}"]["value"] == 0.5
    assert found["accuracy"]["value"] == 1


def test_no_built_in_name_is_missing() -> None:
    cases = Predictions(LABELS, np.eye(2)[LABELS], ("no", "yes"))
    settings = EvaluationSettings(bootstrap=0, ordinal=True)
    assert built_in_metrics() == set(evaluate(cases, settings)["overall"])


def test_options_reach_the_metric(metric_plugin) -> None:
    metric_plugin("acme", body="beta / 10")
    assert overall()["score"]["value"] == pytest.approx(0.1)
    assert overall(score={"beta": 2})["score"]["value"] == pytest.approx(0.2)
    assert overall(**{"acme:score": {"beta": 3}})["score"]["value"] == pytest.approx(0.3)


def test_options_that_a_metric_refuses_name_it(metric_plugin) -> None:
    metric_plugin("acme")
    with pytest.raises(ConfigError, match=r"metric 'acme:score': unknown option 'gamma'"):
        metrics(score={"gamma": 1})
    with pytest.raises(ConfigError, match="option 'beta' is 0.1, expected float, 0.5 or more"):
        metrics(score={"beta": 0.1})


def test_options_for_an_unknown_metric_get_a_suggestion(metric_plugin) -> None:
    metric_plugin("acme")
    with pytest.raises(ConfigError, match=r"no plugin has a metric 'scor'.*Did you mean \"score\""):
        metrics(scor={})


def test_a_missing_requirement_names_plugin_and_ways_out(metric_plugin) -> None:
    metric_plugin("acme", requires="'no-such-dist',")
    with pytest.raises(
        PluginError,
        match=r"plugin acme: metric 'score' .*pip install no-such-dist.*BLOCK_PLUGINS=acme",
    ):
        metrics()


def test_a_factory_that_raises_names_the_plugin(install_plugin) -> None:
    source = PLUGIN.replace("NAME", "score").replace("MODULE", "acme_metric")
    install_plugin("acme", source.replace("REQUIRES", ""), acme_metric="def make(beta): 1 / 0\n")
    with pytest.raises(PluginError, match="plugin acme: metric 'score' .*ZeroDivisionError"):
        metrics()


def test_a_factory_must_give_a_function(install_plugin) -> None:
    source = PLUGIN.replace("NAME", "score").replace("MODULE", "acme_metric")
    install_plugin("acme", source.replace("REQUIRES", ""), acme_metric="def make(beta): return 3\n")
    with pytest.raises(PluginError, match="plugin acme: .* gave a int, expected a function"):
        metrics()


@pytest.mark.parametrize("body", ["[][0]", "None", "'text'", "labels.nothing", "exit(3)"])
def test_a_metric_that_fails_on_the_data_costs_that_number_alone(metric_plugin, body: str) -> None:
    metric_plugin("acme", body=body)
    found = overall()
    assert found["score"]["value"] is None
    assert found["score"]["reason"].startswith(("the metric failed", "the metric refused"))
    assert found["accuracy"]["value"] == 1


def test_training_refuses_an_unusable_metric_before_it_reads_the_cohort(
    metric_plugin, tmp_path
) -> None:
    metric_plugin("acme", requires="'no-such-dist',")
    experiment = {"cohort": {"path": "nowhere"}, "sources": [{"use": "mini:resnet"}]}
    with pytest.raises(PluginError, match="plugin acme: metric 'score'"):
        train(experiment, tmp_path / "run", progress=False)


def test_evaluation_refuses_an_unusable_metric_before_it_opens_the_bundle(
    metric_plugin, tmp_path
) -> None:
    from medfuse.workflows.evaluate import evaluate as evaluate_bundle

    metric_plugin("acme", requires="'no-such-dist',")
    with pytest.raises(PluginError, match="plugin acme: metric 'score'"):
        evaluate_bundle(tmp_path / "no-bundle", tmp_path, tmp_path / "out")
