"""Features, images -> the same in a world that has changed.

Invariant: the same call gives the same arrays; nothing here looks at labels.
"""

from __future__ import annotations

import numpy as np

from insitu.data.datasets import Array

MEL_BINS, COEFFICIENTS = 40, 10
FLOOR = 1e-6
"""Source: MLPerf Tiny's keyword spotting: 40 mel bins, log(mel + 1e-6), 10 coefficients of
tf.signal.mfccs_from_log_mel_spectrograms, which is DCT-II times sqrt(2 / bins)."""

CAR_NOISE_SLOPE = 1.5
"""Natural logarithm by which the noise falls from the lowest to the highest mel bin."""


def louder_world(x: Array, *, gain: float, noise: float, seed: int) -> Array:
    """MFCC x[n, 1, frames, 10] as a microphone of another gain gives them in a noisy place.

    The coefficients are turned back into 40 smooth mel energies; these are multiplied by
    `gain`, the energy of the noise (`noise` times the mean energy of all frames with sound, more
    in low bins, changing from frame to frame) is added, and the features are made again.
    """
    random = np.random.RandomState(seed)
    basis = _basis()
    log_mel = x[:, 0].astype(np.float64) @ np.linalg.pinv(basis.T)
    energy = np.exp(log_mel)
    level = energy[energy.mean(axis=2) > 100 * FLOOR].mean()
    colour = np.exp(-CAR_NOISE_SLOPE * np.arange(MEL_BINS) / MEL_BINS)
    loudness = random.uniform(0.5, 1.5, (len(x), 1, 1))  # of each place
    flicker = random.chisquare(8, energy.shape) / 8  # a bin's energy is a sum of squares
    heard = gain * energy + noise * level * colour * loudness * flicker
    features: Array = np.log(heard + FLOOR) @ basis.T
    return features[:, None].astype(np.float32)


def _basis() -> Array:
    """basis[coefficient, bin]: mfcc = basis log_mel."""
    bins = np.arange(MEL_BINS) + 0.5
    angles = np.pi * np.arange(COEFFICIENTS)[:, None] * bins / MEL_BINS
    basis: Array = np.cos(angles) * np.sqrt(2 / MEL_BINS)
    return basis


def turned(x: Array, degrees: float) -> Array:
    """Images x[n, 1, h, w] turned about their middle, bilinear, zero outside."""
    height, width = x.shape[2:]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    angle = np.deg2rad(degrees)
    rows, columns = np.mgrid[:height, :width]
    dy, dx = rows - centre_y, columns - centre_x
    from_y = centre_y + dy * np.cos(angle) - dx * np.sin(angle)
    from_x = centre_x + dy * np.sin(angle) + dx * np.cos(angle)
    top, left = np.floor(from_y).astype(int), np.floor(from_x).astype(int)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (1, 2)))
    result = np.zeros_like(x)
    for step_y in (0, 1):
        for step_x in (0, 1):
            weight = (1 - abs(from_y - top - step_y)) * (1 - abs(from_x - left - step_x))
            source_y = np.clip(top + step_y + 1, 0, height + 2)
            source_x = np.clip(left + step_x + 1, 0, width + 2)
            result += (weight * padded[:, :, source_y, source_x]).astype(np.float32)
    return result
