"""The command `maniple`: a module per verb."""
