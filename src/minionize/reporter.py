"""Reporters of the tool `minionize`: where events go."""

from __future__ import annotations

from maniple.callback.entry import create_reporter
from maniple.reporter import Reporter
from maniple.reporters.jsonl import JsonlReporter as JsonReporter
from maniple.reporters.null import NullReporter
from maniple.reporters.stdout import StdoutReporter

__all__ = ["JsonReporter", "NullReporter", "Reporter", "StdoutReporter", "create_reporter"]
