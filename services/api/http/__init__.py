"""HTTP itself, whatever is asked: bodies, parameters, conditions, ranges, problems."""
