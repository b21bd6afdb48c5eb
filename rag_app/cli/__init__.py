"""Commands that `rankgate` finds through the entry-point group `rankgate.commands`."""
