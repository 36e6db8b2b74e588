"""A program's own callbacks over an engine: what the drop-in package minionize offers."""
