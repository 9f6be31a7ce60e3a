"""TRIPOD+AI: what a study of a prediction model reports.

Collins et al., 2024, doi:10.1136/bmj-2023-078378. The names of the items are our own words; the
guideline has the full text.
"""

from __future__ import annotations

from medfuse.workflows.run_page.checklist_item import Item

REFERENCE = "TRIPOD+AI (Collins et al., 2024, doi:10.1136/bmj-2023-078378)"

ITEMS = (
    Item("1", "title: development or evaluation, target population and outcome"),
    Item("2", "abstract"),
    Item("3a", "health care context, why the model is needed, existing models"),
    Item("3b", "target population, purpose and users", ("card",), "place in the care pathway"),
    Item("3c", "known inequalities between groups of people"),
    Item("4", "objectives: development, evaluation or both"),
    Item("5a", "sources of the data", ("cohort", "split"), "origin, and why they represent users'"),
    Item("5b", "dates of the data"),
    Item("6a", "setting, number and place of centers", ("cohort",), "what the centers are"),
    Item("6b", "who was eligible", ("cohort",), "criteria before the images came together"),
    Item("6c", "treatments, and how they were handled"),
    Item(
        "7",
        "preparation and quality checks of the data",
        ("inputs", "events"),
        "whether alike in all groups",
    ),
    Item(
        "8a",
        "outcome: definition, time horizon, how and when it was assessed, and why this one",
        ("cohort",),
        "the reference standard, its time, and whether it is alike in all groups",
    ),
    Item("8b", "who assessed the outcome, where that takes judgment"),
    Item("8c", "blinding of that assessment"),
    Item(
        "9a",
        "choice of predictors, before and by the model",
        ("inputs", "sources"),
        "why these images",
    ),
    Item(
        "9b",
        "definition of predictors, how and when they were measured",
        ("inputs",),
        "acquisition, blinding",
    ),
    Item("9c", "who assessed predictors, where that takes judgment"),
    Item(
        "10",
        "size of the study for development and evaluation, and its reasons",
        ("cohort", "split"),
        "why this size",
    ),
    Item(
        "11",
        "missing data, and why data were left out",
        ("cohort", "events"),
        "why they are missing",
    ),
    Item("12a", "how data were divided for each step", ("split",)),
    Item("12b", "how predictors enter the model", ("inputs", "sources")),
    Item(
        "12c",
        "kind of model, why, how it was built, tuned and tested internally",
        ("model", "training", "sources", "split"),
        "why this kind",
    ),
    Item("12d", "differences between clusters, such as hospitals", ("subgroups",)),
    Item(
        "12e",
        "measures and plots of performance, comparison of models",
        ("metrics", "calibration", "comparison"),
        "clinical utility",
    ),
    Item("12f", "updating of the model that follows from its evaluation"),
    Item("12g", "how predictions were calculated for the evaluation", ("model", "card")),
    Item("13", "methods against class imbalance, recalibration after them", ("training", "model")),
    Item("14", "approaches to fairness", ("subgroups",), "which groups matter, and why"),
    Item(
        "15",
        "output of the model, thresholds and how they were found",
        ("card", "model", "metrics"),
    ),
    Item(
        "16",
        "differences between development and evaluation data",
        ("split",),
        "setting, eligibility, outcome",
    ),
    Item("17", "ethical approval, and consent or its waiver"),
    Item("18a", "funding, and the role of the funders"),
    Item("18b", "conflicts of interest"),
    Item("18c", "where the protocol is, or that there is none"),
    Item("18d", "registration of the study, or that there is none"),
    Item("18e", "availability of the data"),
    Item("18f", "availability of the code of the analysis", ("versions",), "where it can be had"),
    Item("19", "involvement of patients and the public"),
    Item(
        "20a", "flow of participants", ("cohort", "split"), "those before the images came together"
    ),
    Item("20b", "characteristics of participants", ("cohort",), "what the cohort's table lacks"),
    Item(
        "20c",
        "distribution of predictors and outcome beside the development data",
        ("split",),
    ),
    Item("21", "participants and outcomes in each analysis", ("split", "metrics", "subgroups")),
    Item(
        "22",
        "the full model, and restrictions of its use",
        ("model", "sources", "card"),
        "the bundle, if it may be given away",
    ),
    Item("23a", "performance with intervals, also of subgroups", ("metrics", "subgroups")),
    Item("23b", "differences in performance between clusters", ("subgroups",)),
    Item("24", "results of updating"),
    Item("25", "interpretation, fairness included"),
    Item(
        "26",
        "limitations, and what they do to bias, uncertainty and generality",
        ("limits",),
        "those of the study",
    ),
    Item(
        "27a",
        "input that is bad or absent, in use",
        ("limits", "abstention", "events"),
        "what users should do",
    ),
    Item("27b", "whether users handle input or model, and what expertise they need"),
    Item("27c", "next steps of research: where the model applies and generalizes"),
)
