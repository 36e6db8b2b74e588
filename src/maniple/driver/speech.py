"""How the messages of driver and hub become frames: in our own protocol, or an earlier one."""

from __future__ import annotations

from typing import Protocol

import msgspec

from maniple.algorithm.call import whole
from maniple.cluster.messages import FromDriver, Result, ToDriver, decode_to_driver, encode

Frame = str | bytes


class SpeechError(Exception):
    """The hub said something that cannot be understood; the connection is of no use."""


class Speech(Protocol):
    """Translates both ways on one connection.

    Attributes:
        heartbeat: seconds between the frames of `beat`, or None where pings do.
    """

    heartbeat: float | None

    def say(self, message: FromDriver) -> list[Frame]:
        """Word a message; nothing where the hub has no word for it."""
        ...

    def hear(self, frame: Frame) -> tuple[list[ToDriver], list[Frame]]:
        """Understand a frame: the messages in it, and the frames to answer at once.

        Raises:
            SpeechError: it cannot be understood.
        """
        ...

    def beat(self) -> Frame | None:
        """Give the next frame that shows that we are alive; None while there is no need."""
        ...


class Native:
    """MessagePack, one message a frame."""

    heartbeat: float | None = None

    def say(self, message: FromDriver) -> list[Frame]:
        """Word a message."""
        return [encode(message)]

    def hear(self, frame: Frame) -> tuple[list[ToDriver], list[Frame]]:
        """Understand a frame."""
        if isinstance(frame, str):
            raise SpeechError("a text frame")
        try:
            message = decode_to_driver(frame)
        except msgspec.DecodeError as error:
            raise SpeechError(str(error)) from None
        if isinstance(message, Result):
            message = Result(message.task, whole(message.answer))
        return [message], []

    def beat(self) -> Frame | None:
        """There is no need: pings do."""
        return None
