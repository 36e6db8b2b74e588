"""Two synthesised voices, and two microphones that hear both."""

from __future__ import annotations

import subprocess
import wave

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
SPEAKERS = {
    "en+m3": "The north wind and the sun were disputing which was the stronger, when a traveller"
    " came along wrapped in a warm cloak. They agreed that the one who first succeeded in making"
    " the traveller take his cloak off should be considered stronger than the other.",
    "en-us+f4": "Please call Stella. Ask her to bring these things with her from the store: six"
    " spoons of fresh snow peas, five thick slabs of blue cheese, and maybe a snack for her brother"
    " Bob. We also need a small plastic snake and a big toy frog for the kids.",
}
MIXTURE = np.array([[1.0, 0.6], [0.5, 1.0]])


def say(voice: str, text: str, path: str) -> None:
    """Have espeak-ng say a text into a WAV file.

    Raises:
        SystemExit: espeak-ng is not installed.
    """
    try:
        subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", path, text], check=True)
    except FileNotFoundError:
        raise SystemExit("the voices need espeak-ng: apt-get install espeak-ng") from None


def read(path: str) -> tuple[Samples, int]:
    """Read a WAV file of one channel: samples from -1 to 1, and how many are a second's."""
    with wave.open(path, "rb") as file:
        data = file.readframes(file.getnframes())
        return np.frombuffer(data, "<i2") / 32768.0, file.getframerate()


def write(path: str, samples: Samples, rate: int) -> None:
    """Write a WAV file of one channel."""
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def mix(folder: str) -> int:
    """Write voice-1.wav, voice-2.wav, mixture-1.wav and mixture-2.wav; return the sample rate."""
    voices = []
    rate = 0
    for number, (voice, text) in enumerate(SPEAKERS.items(), 1):
        path = f"{folder}/voice-{number}.wav"
        say(voice, text, path)
        samples, rate = read(path)
        voices.append(samples / np.std(samples))
    length = min(map(len, voices))
    both = np.vstack([voice[:length] for voice in voices])
    for number, voice in enumerate(both, 1):
        write(f"{folder}/voice-{number}.wav", voice / np.abs(voice).max(), rate)
    heard = MIXTURE @ both
    for number, mixture in enumerate(heard / np.abs(heard).max(), 1):
        write(f"{folder}/mixture-{number}.wav", mixture, rate)
    return rate
