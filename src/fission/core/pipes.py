"""Pipes: what joins two jobs."""

from maniple.network.marvelo.pipes import (
    BasePipe,
    BytesPipe,
    JSONPipe,
    OptionalBytesPipe,
    OptionalJSONPipe,
    OptionalMixIn,
    OptionalPicklePipe,
    PicklePipe,
)

__all__ = [
    "BasePipe",
    "BytesPipe",
    "JSONPipe",
    "OptionalBytesPipe",
    "OptionalJSONPipe",
    "OptionalMixIn",
    "OptionalPicklePipe",
    "PicklePipe",
]
