"""Class names of the MedMNIST archives, which hold numbers only.

As the package medmnist 3.0.2 (Apache-2.0) has them: Yang et al. 2023, MedMNIST v2, Scientific Data
10:41, doi 10.1038/s41597-022-01721-8. ChestMNIST has 14 labels per image, not classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)

MEDMNIST_CLASSES: Mapping[str, tuple[str, ...]] = {
    "pathmnist": (
        *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle"),
        *("normal colon mucosa", "cancer-associated stroma"),
        "colorectal adenocarcinoma epithelium",
    ),
    "chestmnist": (
        *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule"),
        *("pneumonia", "pneumothorax", "consolidation", "edema", "emphysema", "fibrosis"),
        *("pleural", "hernia"),
    ),
    "dermamnist": (
        *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma"),
        *("benign keratosis-like lesions", "dermatofibroma", "melanoma"),
        *("melanocytic nevi", "vascular lesions"),
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("0", "1", "2", "3", "4"),
    "breastmnist": ("malignant", "normal, benign"),
    "bloodmnist": (
        *("basophil", "eosinophil", "erythroblast"),
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
        *("lymphocyte", "monocyte", "neutrophil", "platelet"),
    ),
    "tissuemnist": (
        *("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule"),
        *("Glomerular endothelial cells", "Interstitial endothelial cells", "Leukocytes"),
        *("Podocytes", "Proximal Tubule Segments", "Thick Ascending Limb"),
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
    "organmnist3d": (
        *("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder"),
        *("heart", "lung-right", "lung-left", "spleen", "pancreas"),
    ),
    "nodulemnist3d": ("benign", "malignant"),
    "adrenalmnist3d": ("normal", "hyperplasia"),
    "fracturemnist3d": (
        *("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
    ),
    "vesselmnist3d": ("vessel", "aneurysm"),
    "synapsemnist3d": ("inhibitory synapse", "excitatory synapse"),
}


def classes_of_archive(path: Path) -> tuple[str, ...]:
    """Return the class names of ``pneumoniamnist.npz`` or ``pneumoniamnist_224.npz``.

    Empty where the file has the name of no such set.
    """
    name, _, size = path.stem.lower().partition("_")
    return MEDMNIST_CLASSES.get(name, ()) if not size or size.isdecimal() else ()
