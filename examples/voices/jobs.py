"""The jobs of the network that tells two voices apart, block by block.

Two microphones hear the same two voices in different mixtures. What they hear is made uncorrelated
and of unit power (whitening); then one angle is left to find, and it is found from fourth powers,
for speech is far from Gaussian: P. Comon and C. Jutten, Handbook of Blind Source Separation, 2010,
chapter 5, the estimator "EML" of V. Zarzoso and A. Nandi (1999).
"""

from __future__ import annotations

import wave
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from maniple.network import Job, Pipe

Samples = NDArray[np.float64]
BLOCK = 500


def microphone(path: str) -> Iterator[Samples]:
    """Read a WAV file in blocks of 500 samples, from -1 to 1."""
    with wave.open(path, "rb") as file:
        while data := file.readframes(BLOCK):
            yield np.frombuffer(data, "<i2") / 32768.0


class Covariance(Job):
    """Adds to each pair of blocks (2 x n samples) the covariance of all that was heard so far."""

    def setup(self) -> None:
        """Begin with silence."""
        self.sum = np.eye(2) * 1e-6
        self.count = 1e-6

    def run(self, left: Samples, right: Samples) -> list[Samples]:
        """Return the pair and the covariance."""
        pair = np.vstack([left, right])
        self.sum += pair @ pair.T
        self.count += pair.shape[1]
        return [pair, self.sum / self.count]


def whiten(pair_and_covariance: list[Samples]) -> Samples:
    """Make a pair of blocks uncorrelated and of unit power, symmetrically."""
    pair, covariance = pair_and_covariance
    values, vectors = np.linalg.eigh(covariance)
    root = vectors @ np.diag(1 / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T
    white: Samples = root @ pair
    return white


class Separate(Job):
    """Turns white pairs by the one angle that makes them independent."""

    def setup(self) -> None:
        """Begin with no idea of the angle."""
        self.fourth = 0j
        self.power = 0.0
        self.count = 0
        self.angle = 0.0

    def run(self, white: Samples) -> Samples:
        """Improve the angle with this block, and turn it."""
        z = white[0] + 1j * white[1]
        self.fourth += np.sum(z**4)
        self.power += float(np.sum(np.abs(z) ** 4))
        self.count += z.size
        kurtosis = self.power / self.count - 8
        found = np.angle(self.fourth * kurtosis) / 4
        # a quarter turn only swaps the voices: stay where they were
        self.angle = found + np.round((self.angle - found) / (np.pi / 2)) * np.pi / 2
        turned = z * np.exp(-1j * self.angle)
        return np.vstack([turned.real, turned.imag])


class Normalise(Job):
    """Brings both voices to the same loudness, and each to an output of its own."""

    def setup(self) -> None:
        """Begin quietly."""
        self.peak = np.full(2, 1e-3)

    def run(self, voices: Samples) -> tuple[Samples, Samples]:
        """Divide by the loudest sample so far."""
        self.peak = np.maximum(self.peak, np.abs(voices).max(axis=1))
        left, right = 0.9 * voices / self.peak[:, None]
        return left, right


class WavSink(Job):
    """Writes blocks into a WAV file, 16 bits, one channel."""

    def __init__(self, path: str, rate: int, inputs: list[Pipe | str], **options: str) -> None:
        super().__init__(inputs, **options)
        self.path = path
        self.rate = rate

    def setup(self) -> None:
        """Open the file."""
        self.file = wave.open(self.path, "wb")  # noqa: SIM115 - open as long as the job
        self.file.setnchannels(1)
        self.file.setsampwidth(2)
        self.file.setframerate(self.rate)

    def run(self, block: Samples) -> None:
        """Append a block."""
        self.file.writeframes((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())

    def close(self) -> None:
        """Complete the file's header."""
        self.file.close()
