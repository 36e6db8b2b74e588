"""The interface of the framework MARVELO, offered by Maniple."""

from maniple.network.marvelo.emulate import emulate

__all__ = ["emulate"]
