"""Gray textures made by formulas: every function returns ``(size, size)`` float32 in [0, 1].

Networks learn general features from procedural images (Kataoka et al. 2020,
doi 10.1007/978-3-030-69544-6_35; Baradad et al. 2021, arXiv 2106.05963): no license, no patient.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

Rng = np.random.Generator


def stretch(image: np.ndarray) -> np.ndarray:
    """The image with its 0.5 and 99.5 percentiles moved to 0 and 1, clipped."""
    low, high = np.percentile(image[::3, ::3], (0.5, 99.5))
    return np.clip((image - low) / max(float(high - low), 1e-6), 0.0, 1.0).astype(np.float32)


def grid(rng: Rng, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y in about [-1, 1], turned, moved and scaled at random."""
    axis = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    angle, scale = rng.uniform(0, 2 * np.pi), np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    cos, sin = np.float32(np.cos(angle)) * scale, np.float32(np.sin(angle)) * scale
    dx, dy = rng.uniform(-0.4, 0.4, 2).astype(np.float32)
    x, y = axis[None, :] + dx, axis[:, None] + dy
    return cos * x - sin * y, sin * x + cos * y


def soft_step(value: np.ndarray) -> np.ndarray:
    """A cheap sigmoid: 0 below -1, 1 above 1, smooth between."""
    inside = np.clip(value * np.float32(0.5) + np.float32(0.5), 0, 1)
    return inside * inside * (3 - 2 * inside)


def smooth_field(rng: Rng, knots: int, size: int) -> np.ndarray:
    """Normal deviates on a coarse grid, interpolated to ``(size, size)``."""
    return _resize(rng.normal(0, 1, (knots, knots)), size)


def power_noise(rng: Rng, size: int) -> np.ndarray:
    """Noise with a 1/f^a spectrum, a in [0.5, 2.2], stretched along a random direction."""
    turn, squeeze = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 1.2))
    fx, fy = np.fft.rfftfreq(size)[None, :] * size, np.fft.fftfreq(size)[:, None] * size
    along, across = fx * np.cos(turn) + fy * np.sin(turn), fy * np.cos(turn) - fx * np.sin(turn)
    radius = np.sqrt(along**2 + (across * squeeze) ** 2 + 1.0)
    return stretch(_shaped_noise(rng, size, radius ** -rng.uniform(0.5, 2.2)))


def band_noise(rng: Rng, size: int) -> np.ndarray:
    """Noise of one spatial frequency: labyrinths, ridges or blobs."""
    fx, fy = np.fft.rfftfreq(size)[None, :] * size, np.fft.fftfreq(size)[:, None] * size
    center = np.exp(rng.uniform(np.log(3.0), np.log(size / 5)))
    radius = np.sqrt(fx**2 + fy**2)
    envelope = np.exp(-0.5 * ((radius - center) / (center * rng.uniform(0.08, 0.5))) ** 2)
    field = _shaped_noise(rng, size, envelope)
    field /= field.std() + 1e-9
    kind = rng.integers(4)
    if kind == 0:
        return stretch(np.abs(field))
    if kind == 1:
        return stretch(1.0 / (1.0 + np.exp(-field * rng.uniform(2, 12))))
    if kind == 2:
        return stretch(np.maximum(field - rng.uniform(0.3, 1.6), 0.0))
    return stretch(field)


def warped(rng: Rng, size: int) -> np.ndarray:
    """Another texture bent by a smooth random field."""
    source = TEXTURES[rng.integers(len(TEXTURES) - 1)](rng, size)
    bend = [smooth_field(rng, 6, size), smooth_field(rng, 6, size)]
    rows, columns = np.mgrid[0:size, 0:size]
    strength = rng.uniform(4, size / 8)
    where = np.stack([rows + strength * bend[0], columns + strength * bend[1]])
    return ndimage.map_coordinates(source, where, order=1, mode="mirror").astype(np.float32)


def cells(rng: Rng, size: int) -> np.ndarray:
    """Voronoi cells: flat, bounded by dark or bright walls, or shaded by distance."""
    count = int(np.exp(rng.uniform(np.log(8), np.log(300))))
    half = size // 2
    rows, columns = np.mgrid[0:half, 0:half]
    points = rng.uniform(0, half, (count, 2))
    near, owner = cKDTree(points).query(np.stack([rows, columns], -1).reshape(-1, 2), k=2)
    wall = (near[:, 1] - near[:, 0]).reshape(half, half)
    flat = rng.uniform(0, 1, count)[owner[:, 0]].reshape(half, half)
    spacing = half / np.sqrt(count)
    shapes = (flat, np.minimum(wall, spacing * 0.3), near[:, 0].reshape(half, half), flat * wall)
    return stretch(_resize(shapes[rng.integers(4)], size))


def waves(rng: Rng, size: int) -> np.ndarray:
    """A sum or product of plane, circular and square waves."""
    field = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 5)):
        x, y = grid(rng, size)
        axis = (x, np.hypot(x, y), np.arctan2(y, x), x * y)[rng.integers(4)]
        wave = np.sin(axis * np.exp(rng.uniform(0.7, 4.2)) + rng.uniform(0, 6.3))
        wave = np.tanh(wave * rng.uniform(0.5, 8))
        field = field * wave if rng.random() < 0.3 and field.any() else field + wave
    return stretch(field)


def neural_pattern(rng: Rng, size: int) -> np.ndarray:
    """A random coordinate network (compositional pattern, Stanley 2007)."""
    x, y = grid(rng, size)
    values = np.stack([x, y, np.hypot(x, y), np.ones_like(x)], -1).reshape(-1, 4)
    for _ in range(rng.integers(2, 4)):
        weights = rng.normal(0, rng.uniform(0.8, 2.5), (values.shape[1], 12)).astype(np.float32)
        values = (np.tanh, np.sin, np.cos, np.abs)[rng.integers(4)](values @ weights)
    mix = rng.normal(0, 1, values.shape[1]).astype(np.float32)
    return stretch(np.tanh(values @ mix * 0.5).reshape(size, size))


def fractal(rng: Rng, size: int) -> np.ndarray:
    """The attractor of a random iterated function system (Barnsley 1988), as log density."""
    count = rng.integers(2, 6)
    angles, shears = rng.uniform(0, 2 * np.pi, (2, count))
    scales = rng.uniform(0.35, 0.8, (2, count))
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], -1)
    skew = np.stack([np.cos(shears), -np.sin(shears), np.sin(shears), np.cos(shears)], -1)
    matrices = turn.reshape(-1, 2, 2) * scales.T[:, None, :] @ skew.reshape(-1, 2, 2)
    shifts = rng.uniform(-1, 1, (count, 2))
    points, kept = rng.uniform(-1, 1, (1000, 2)), []
    for step in range(40):
        choice = rng.integers(count, size=len(points))
        points = np.einsum("nij,nj->ni", matrices[choice], points) + shifts[choice]
        if step > 8:
            kept.append(points)
    cloud = np.concatenate(kept)
    low, high = np.percentile(cloud, (1, 99), axis=0)
    density = np.histogram2d(*cloud.T, bins=size, range=list(zip(low, high + 1e-6, strict=True)))[0]
    blur = ndimage.gaussian_filter(density, rng.uniform(0.4, 1.2))
    return stretch(np.log1p(blur * rng.uniform(1, 10)))


def leaves(rng: Rng, size: int) -> np.ndarray:
    """Dead leaves: opaque textured shapes with power-law sizes (Lee et al. 2001)."""
    count = int(rng.integers(20, 250))
    index = Image.new("I", (size, size), 0)
    draw = ImageDraw.Draw(index)
    radii = np.clip(size * 0.02 * rng.pareto(1.3, count) + 2, 2, size * 0.45)
    kind = rng.integers(4)
    for number, radius in enumerate(sorted(radii, reverse=True), 1):
        x, y = rng.uniform(-0.1 * size, 1.1 * size, 2)
        draw.polygon(_outline(rng, (x, y), radius, kind), fill=number)
    owner = np.asarray(index).astype(np.int64)
    gray, depth = rng.uniform(0, 1, count + 1), rng.uniform(0, 0.5, count + 1)
    inside = power_noise(rng, size) - 0.5
    return stretch(gray[owner] + depth[owner] * inside)


def strokes(rng: Rng, size: int) -> np.ndarray:
    """Branching lines, like vessels, hairs, cracks or fibers, on a smooth ground."""
    canvas = Image.new("F", (size, size), 0.0)
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(3, 25)):
        start = rng.uniform(0, size, 2)
        heading, width = rng.uniform(0, 2 * np.pi), rng.uniform(1, 8)
        _branch(draw, rng, (start[0], start[1], heading, width))
    lines = ndimage.gaussian_filter(np.asarray(canvas), rng.uniform(0.3, 1.5))
    return stretch(lines + rng.uniform(0, 1.5) * power_noise(rng, size))


def _shaped_noise(rng: Rng, size: int, envelope: np.ndarray) -> np.ndarray:
    white = rng.standard_normal((2, *envelope.shape), dtype=np.float32)
    return np.fft.irfft2((white[0] + 1j * white[1]) * envelope, s=(size, size)).astype(np.float32)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    picture = Image.fromarray(image.astype(np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def _outline(
    rng: Rng, center: tuple[float, float], radius: float, kind: int
) -> list[tuple[float, float]]:
    corners = (24, int(rng.integers(3, 7)), 24, 4)[kind]
    angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    radii = np.full(corners, radius) * (rng.uniform(0.6, 1.2, corners) if kind == 1 else 1.0)
    if kind == 2:
        radii = radii * (1 + 0.35 * np.sin(angles * rng.integers(2, 8)))
    squash = rng.uniform(0.3, 1.0)
    tilt = rng.uniform(0, np.pi)
    x, y = np.cos(angles) * radii, np.sin(angles) * radii * squash
    turned = x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)
    return list(zip(center[0] + turned[0], center[1] + turned[1], strict=True))


def _branch(draw: ImageDraw.ImageDraw, rng: Rng, twig: tuple[float, float, float, float]) -> None:
    pending = [twig]
    for _ in range(60):
        if not pending:
            return
        x, y, heading, width = pending.pop(0)
        length = rng.uniform(5, 25)
        end = x + np.cos(heading) * length, y + np.sin(heading) * length
        draw.line([(x, y), end], fill=float(0.4 + width / 10), width=max(1, round(width)))
        children = 2 if rng.random() < 0.25 else 1
        for _ in range(children if width > 0.6 else 0):
            bend = heading + rng.normal(0, 0.35 if children == 1 else 0.7)
            pending.append((*end, bend, width * rng.uniform(0.8, 1.0)))


TEXTURES = (
    power_noise,
    band_noise,
    cells,
    waves,
    neural_pattern,
    fractal,
    leaves,
    strokes,
    warped,
)
