"""Statistics: paired comparisons, strata, fits, bounds. Knows numbers and groups, no systems."""
