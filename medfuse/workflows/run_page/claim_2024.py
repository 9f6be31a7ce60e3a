"""CLAIM 2024: what a study of artificial intelligence in medical imaging reports.

Tejani et al., 2024, doi:10.1148/ryai.240300. The names of the items are our own words; the
guideline has the full text.
"""

from __future__ import annotations

from medfuse.workflows.run_page.checklist_item import Item

REFERENCE = "CLAIM 2024 (Tejani et al., 2024, doi:10.1148/ryai.240300)"

ITEMS = (
    Item("1", "title or abstract names the kind of method"),
    Item("2", "structured abstract"),
    Item("3", "background, intended use and role in care"),
    Item("4", "aims and hypotheses"),
    Item("5", "prospective or retrospective"),
    Item("6", "goal of the study"),
    Item("7", "sources of the data", ("cohort",), "origin, dates, links to public sets"),
    Item("8", "inclusion and exclusion", ("cohort",), "criteria before the images came together"),
    Item("9", "preprocessing", ("inputs",)),
    Item("10", "choice of parts of the data", ("inputs", "cohort")),
    Item("11", "removal of identities"),
    Item("12", "missing data", ("cohort", "events"), "why they are missing"),
    Item("13", "acquisition of the images"),
    Item("14", "reference standard"),
    Item("15", "why this reference standard"),
    Item("16", "who annotated"),
    Item("17", "how the test cases were annotated"),
    Item("18", "variability between and within readers"),
    Item("19", "how cases were assigned to parts, and in what proportions", ("split",), "why so"),
    Item("20", "at which level the parts are disjoint", ("split",)),
    Item("21", "intended sample size of the test part"),
    Item("22", "the model in detail", ("model", "sources")),
    Item("23", "software", ("versions", "sources")),
    Item("24", "initial parameters, transfer learning", ("sources",)),
    Item("25", "training: augmentation, convergence, hyperparameters", ("training", "inputs")),
    Item("26", "how the final model was chosen", ("training",)),
    Item("27", "ensembles", ("model", "training")),
    Item("28", "metrics", ("metrics", "calibration"), "why these"),
    Item("29", "significance and uncertainty", ("metrics", "comparison")),
    Item(
        "30",
        "robustness or sensitivity",
        ("subgroups", "abstention", "comparison"),
        "further analyses",
    ),
    Item(
        "31",
        "methods of explanation, and how they were checked",
        ("explanation", "shares", "errors"),
    ),
    Item("32", "test on internal data", ("metrics", "split")),
    Item("33", "test on external data", (), "a report of medfuse evaluate on another cohort"),
    Item("34", "registration, of a clinical trial"),
    Item("35", "cases included and excluded", ("cohort", "split")),
    Item("36", "characteristics of cases in each part", ("split", "cohort"), "demography"),
    Item("37", "performance on each part and subgroup", ("metrics", "subgroups")),
    Item("38", "diagnostic accuracy and its precision", ("metrics",)),
    Item("39", "analysis of errors", ("errors", "metrics"), "why they are wrong"),
    Item("40", "limitations", ("limits",), "those of the study"),
    Item("41", "what follows for practice, intended use"),
    Item("42", "protocol and further technical details", ("versions",), "protocol"),
    Item(
        "43", "availability of software, model and data", ("card", "versions"), "where to get them"
    ),
    Item("44", "funding, and the role of the funders"),
)
