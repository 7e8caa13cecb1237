"""Stars of known profiles on a noisy sky, and how far a model is from the truth."""

import numpy as np

from firstlight.algorithms.psf_model import begin_fit, fit_psf

SHAPE = (600, 640)
SKY_NOISE = 7.0
GAIN = 6.2
SUBPIXELS = 9


def moffat(u, v, fwhm, beta, e1=0.0, e2=0.0):
    alpha = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    q = ((1 - e1) * u**2 + (1 + e1) * v**2 - 2 * e2 * u * v) / (alpha**2 * np.sqrt(1 - e1**2 - e2**2))
    return (beta - 1) / (np.pi * alpha**2) * (1 + q) ** -beta


def gaussian(u, v, sigma, x=0.0, y=0.0):
    return np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)


PROFILES = {
    "moffat": lambda u, v, p, q: moffat(u, v, 2.2 * (1 + 0.05 * p), 3.0, 0.05 * q, -0.03 * p),
    "narrow moffat": lambda u, v, p, q: moffat(u, v, 1.6 * (1 + 0.03 * p), 3.0),
    "two gaussians": lambda u, v, p, q: 0.75 * gaussian(u, v, 0.95 * (1 + 0.04 * p)) + 0.25 * gaussian(u, v, 2.2),
    "core and halo": lambda u, v, p, q: 0.9 * moffat(u, v, 2.2, 4.5) + 0.1 * moffat(u, v, 6.0, 2.5),
    "coma": lambda u, v, p, q: 0.85 * gaussian(u, v, 1.0) + 0.15 * gaussian(u, v, 1.5, 0.3 + 0.3 * p, 0.2),
}


def stamps(profile, x, y, radius):
    """Integrate the profile over pixels about positions, by brute force."""
    fine = (np.arange(-radius, radius + 1)[:, None] + (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5).ravel()
    side = 2 * radius + 1
    images = []
    for a, b in zip(x, y, strict=True):
        u, v = fine[None, :] - (a - np.rint(a)), fine[:, None] - (b - np.rint(b))
        values = PROFILES[profile](u, v, 2 * a / SHAPE[1] - 1, 2 * b / SHAPE[0] - 1)
        images.append(values.reshape(side, SUBPIXELS, side, SUBPIXELS).mean(axis=(1, 3)))
    return np.array(images)


class Field:
    """Stars of known profile on a noisy sky."""

    def __init__(self, profile, n, *, seed=1, faintest=5e3, brightest=1e5, radius=14):
        rng = np.random.default_rng(seed)
        side = int(np.ceil(np.sqrt(n)))
        columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
        margin = radius + 2
        self.x = (margin + columns * (SHAPE[1] - 2 * margin) / side).ravel()[:n] + rng.uniform(-2, 2, n)
        self.y = (margin + rows * (SHAPE[0] - 2 * margin) / side).ravel()[:n] + rng.uniform(-2, 2, n)
        self.flux = faintest * (brightest / faintest) ** (rng.uniform(size=n) ** 2)
        self.image = np.zeros(SHAPE)
        for a, b, f, stamp in zip(self.x, self.y, self.flux, stamps(profile, self.x, self.y, radius), strict=True):
            row, column = round(b), round(a)
            self.image[row - radius : row + radius + 1, column - radius : column + radius + 1] += f * stamp
        self.image += rng.normal(size=SHAPE) * np.sqrt(SKY_NOISE**2 + self.image / GAIN)
        self.variance = np.maximum(SKY_NOISE**2 + self.image / GAIN, 1.0)
        self.bad = np.zeros(SHAPE, dtype=bool)
        self.found_x, self.found_y = self.x + rng.normal(0, 0.1, n), self.y + rng.normal(0, 0.1, n)

    def fit(self, fit=fit_psf, *, order=None, **changes):
        arguments = {"variance": self.variance, "bad": self.bad, "x": self.found_x, "y": self.found_y, **changes}
        return fit(begin_fit(self.image, **arguments), **({} if order is None else {"order": order}))


def positions(n=5, seed=9):
    rng = np.random.default_rng(seed)
    columns, rows = np.meshgrid(np.linspace(20, SHAPE[1] - 20, n), np.linspace(20, SHAPE[0] - 20, n))
    return columns.ravel() + rng.uniform(-0.5, 0.5, n * n), rows.ravel() + rng.uniform(-0.5, 0.5, n * n)


def moments(images, x, y):
    """Return centroid, sigma, e1 and e2 under an adaptive Gaussian weight, by plain numpy."""
    radius = (images.shape[1] - 1) // 2
    steps = np.arange(-radius, radius + 1.0)
    result = []
    for image, a, b in zip(images, x, y, strict=True):
        u, v = np.meshgrid(steps - (a - np.rint(a)), steps - (b - np.rint(b)))
        matrix, center = np.eye(2) * 1.5, np.zeros(2)
        for _ in range(60):
            inverse, s, t = np.linalg.inv(matrix), u - center[0], v - center[1]
            weight = image * np.exp(-0.5 * (inverse[0, 0] * s**2 + inverse[1, 1] * t**2 + 2 * inverse[0, 1] * s * t))
            weight /= weight.sum()
            mean = np.array([(weight * s).sum(), (weight * t).sum()])
            xx, yy, xy = ((weight * product).sum() for product in (s**2, t**2, s * t))
            matrix, center = 2 * np.array([[xx, xy], [xy, yy]]), center + mean
        trace = np.trace(matrix)
        result.append(
            [*center, np.linalg.det(matrix) ** 0.25, (matrix[0, 0] - matrix[1, 1]) / trace, 2 * matrix[0, 1] / trace]
        )
    return np.array(result)


def compare(fit, profile):
    """Return the relative rms of the PSF images, and the errors of sigma (relative), e1 and e2."""
    x, y = positions()
    radius = fit.psf.radius
    truth, model = stamps(profile, x, y, radius), fit.psf.images(x=x, y=y)
    truth /= truth.sum(axis=(1, 2), keepdims=True)
    rms = np.sqrt(((model - truth) ** 2).sum(axis=(1, 2)) / (truth**2).sum(axis=(1, 2)))
    found, true = moments(model, x, y), moments(truth, x, y)
    return rms, found[:, 2] / true[:, 2] - 1, found[:, 3] - true[:, 3], found[:, 4] - true[:, 4]
