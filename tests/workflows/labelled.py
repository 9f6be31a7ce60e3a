"""Generated lungs with two findings that are independent of each other, some answers blank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medfuse.workflows.phantoms import phantom

from .graded import opacity

LABELS = ("effusion", "opacity")


def write_labelled(folder: Path, patients: int = 90, seed: int = 0) -> Path:
    """Write ``folder/p<patient>.png`` and ``folder/cases.csv``; return the table.

    Two of five patients have an effusion, two of five have opacities, drawn independently. One in
    eight answers is blank.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["image,patient_id,effusion,opacity"]
    for patient in range(patients):
        random = np.random.default_rng([seed, patient])
        effusion, dense = random.random(2) < 0.4
        image = phantom("effusion" if effusion else "clear", random, patient).astype(float)
        image += opacity(3.0 * dense, random, image.shape)
        name = f"p{patient:04d}.png"
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / name)
        cells = ["" if random.random() < 0.125 else str(int(a)) for a in (effusion, dense)]
        rows.append(",".join([name, f"p{patient}", *cells]))
    table = folder / "cases.csv"
    table.write_text("\n".join(rows) + "\n")
    return table
