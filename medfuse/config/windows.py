"""CT windows by name, in Hounsfield units.

Level and width are those of common reading protocols (lung -600/1500, mediastinum 40/400, bone
450/1500, brain 40/80, subdural 80/200, stroke 36/28, abdomen 50/400, liver 60/160).
"""

from __future__ import annotations

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),
    "mediastinum": (-160.0, 240.0),
    "bone": (-300.0, 1200.0),
    "brain": (0.0, 80.0),
    "subdural": (-20.0, 180.0),
    "stroke": (22.0, 50.0),
    "abdomen": (-150.0, 250.0),
    "liver": (-20.0, 140.0),
    "wide": (-1000.0, 1000.0),
}
