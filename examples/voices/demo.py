"""The demo of networks: tell two voices apart that two microphones have heard mixed.

Usage: demo.py [--in FOLDER]. Needs espeak-ng, numpy and matplotlib (`make demo` installs them).
"""

from __future__ import annotations

import argparse
import os
import sys

import jobs
import numpy as np
import speech

from maniple.network import Network
from maniple.network.live.run import simulate

LEAST_CORRELATION = 0.95


def network(folder: str, rate: int) -> Network:
    """Eight jobs: two microphones, four steps, two files."""
    made = Network("voices")
    for number in (1, 2):
        path = f"{folder}/mixture-{number}.wav"
        made.add(
            lambda path=path: jobs.microphone(path),
            outputs=[f"heard-{number}"],
            name=f"microphone-{number}",
            rewinds=True,
        )
    made.add(jobs.Covariance(["heard-1", "heard-2"], ["covariance"]))
    made.add(jobs.whiten, inputs=["covariance"], outputs=["white"])
    made.add(jobs.Separate(["white"], ["separate"]))
    made.add(jobs.Normalise(["separate"], ["left", "right"]))
    for number, pipe in enumerate(("left", "right"), 1):
        made.add(jobs.WavSink(f"{folder}/separated-{number}.wav", rate, [pipe], name=pipe))
    return made


def correlations(folder: str, kind: str) -> np.ndarray:
    """Correlate each file of a kind (rows) with each voice (columns), whatever its sign."""
    found = [speech.read(f"{folder}/{kind}-{number}.wav")[0] for number in (1, 2)]
    voices = [speech.read(f"{folder}/voice-{number}.wav")[0] for number in (1, 2)]
    return np.abs(np.corrcoef(np.vstack(found + voices))[:2, 2:])


def plot(folder: str, rate: int) -> str:
    """Draw what was heard and what was told apart."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(4, 1, sharex=True, figsize=(10, 7), layout="constrained")
    names = [f"{kind}-{number}" for kind in ("mixture", "separated") for number in (1, 2)]
    for axis, name in zip(axes, names, strict=True):
        samples, _ = speech.read(f"{folder}/{name}.wav")
        colour = "0.4" if name.startswith("mixture") else "C0"
        axis.plot(np.arange(len(samples)) / rate, samples, linewidth=0.4, color=colour)
        axis.set_ylabel(name)
        axis.set_ylim(-1, 1)
    axes[-1].set_xlabel("seconds")
    path = f"{folder}/voices.png"
    figure.savefig(path, dpi=100)
    return path


def main() -> int:
    """Mix, separate, compare, draw."""
    parser = argparse.ArgumentParser(description="Tell two voices apart.")
    parser.add_argument("--in", dest="parent", default=".", help="the folder .demo goes there")
    folder = os.path.join(parser.parse_args().parent, ".demo", "voices")
    os.makedirs(folder, exist_ok=True)
    rate = speech.mix(folder)
    print("two voices, two mixtures; eight jobs tell the voices apart", flush=True)
    simulate(network(folder, rate))
    before, after = correlations(folder, "mixture"), correlations(folder, "separated")
    print(f"mixtures with voices:  {np.round(before, 3).tolist()}")
    print(f"separated with voices: {np.round(after, 3).tolist()}")
    best = after.max(axis=1)
    voices = set(after.argmax(axis=1).tolist())
    print(f"listen to {folder}/separated-1.wav and separated-2.wav; look at {plot(folder, rate)}")
    if len(voices) < len(best) or best.min() < LEAST_CORRELATION:
        print("the voices were not told apart", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
