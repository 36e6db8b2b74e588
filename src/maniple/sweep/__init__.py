"""Sets of params: where they come from, how they become commands, where results go."""
