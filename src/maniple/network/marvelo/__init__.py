"""The interface of the framework MARVELO on Maniple's networks; the package `fission` has it."""
