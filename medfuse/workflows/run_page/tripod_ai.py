"""TRIPOD+AI: what a study of a prediction model reports.

Collins et al., 2024, doi:10.1136/bmj-2023-078378. The names of the items are our own words; the
guideline has the full text.
"""

from __future__ import annotations

from medfuse.workflows.run_page.checklist_item import Item

REFERENCE = "TRIPOD+AI (Collins et al., 2024, doi:10.1136/bmj-2023-078378)"

ITEMS = (
    Item("1", "title names the model, its target and the kind of study"),
    Item("2", "abstract"),
    Item("3a", "health care context, and why the model is needed"),
    Item("3b", "target population, purpose and users", ("card",), "place in the care pathway"),
    Item("3c", "known inequalities between groups of people"),
    Item("4", "objectives: development, evaluation or both"),
    Item("5a", "sources of the data", ("cohort", "split"), "origin, and why they represent users'"),
    Item("5b", "dates of the data"),
    Item("6a", "setting, number and place of centers", ("cohort",), "what the centers are"),
    Item("6b", "who was eligible", ("cohort",), "criteria before the images came together"),
    Item("6c", "treatments"),
    Item("7", "preparation and quality checks of the data", ("inputs", "events")),
    Item(
        "8a", "outcome: definition, how and when it was assessed", ("cohort",), "reference standard"
    ),
    Item("8b", "who assessed the outcome, where that takes judgment"),
    Item("8c", "blinding of that assessment"),
    Item("9a", "choice of predictors", ("inputs", "sources"), "why these images"),
    Item("9b", "definition of predictors", ("inputs",), "how they were acquired"),
    Item("9c", "who assessed predictors, where that takes judgment"),
    Item("10", "size of the study and its reasons", ("cohort", "split"), "why this size"),
    Item("11", "missing data", ("cohort", "events"), "why they are missing"),
    Item("12a", "how data were divided for each step", ("split",)),
    Item("12b", "how predictors enter the model", ("inputs", "sources")),
    Item("12c", "kind of model, how it was built and tuned", ("model", "training", "sources")),
    Item("12d", "differences between clusters, such as hospitals", ("subgroups",)),
    Item(
        "12e", "measures and plots of performance", ("metrics", "calibration"), "clinical utility"
    ),
    Item("12f", "updating or recalibration", ("calibration", "model")),
    Item("12g", "how predictions are calculated", ("model", "card")),
    Item("13", "class imbalance", ("training", "cohort")),
    Item("14", "fairness", ("subgroups",), "which groups matter, and why"),
    Item("15", "output of the model, thresholds", ("card", "model", "metrics")),
    Item("16", "differences between development and evaluation data", ("split",)),
    Item("17", "ethical approval and consent"),
    Item("18a", "funding"),
    Item("18b", "conflicts of interest"),
    Item("18c", "protocol"),
    Item("18d", "registration"),
    Item("18e", "availability of the data"),
    Item("18f", "availability of the code", ("versions",), "where model and code can be had"),
    Item("19", "involvement of patients and the public"),
    Item(
        "20a", "flow of participants", ("cohort", "split"), "those before the images came together"
    ),
    Item("20b", "characteristics of participants", ("cohort",), "what the cohort's table lacks"),
    Item("20c", "development beside evaluation data", ("split",), "their characteristics"),
    Item("21", "participants and outcomes in each analysis", ("split", "metrics", "subgroups")),
    Item(
        "22", "the full model", ("model", "sources", "card"), "the bundle, if it may be given away"
    ),
    Item("23a", "performance with intervals, also of subgroups", ("metrics", "subgroups")),
    Item("23b", "differences in performance between clusters", ("subgroups",)),
    Item("24", "results of updating", ("calibration",)),
    Item("25", "interpretation, fairness included"),
    Item("26", "limitations", ("limits",), "those of the study"),
    Item(
        "27a",
        "input that is bad or absent, in use",
        ("limits", "abstention", "events"),
        "what users should do",
    ),
    Item("27b", "interaction and expertise that users need"),
    Item("27c", "next steps, and where the model may be used"),
)
