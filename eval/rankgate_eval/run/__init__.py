"""Running systems: collecting candidates, scoring them once, ordering them by `rankgate.decide`."""
