"""Nodes: the machines that jobs run on."""

from maniple.network.marvelo.nodes import BaseNode, LocalNode, MultiNode

__all__ = ["BaseNode", "LocalNode", "MultiNode"]
