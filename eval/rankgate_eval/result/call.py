"""The call: what an evaluation says to do, and the exit code of its command."""

from __future__ import annotations

from enum import StrEnum


class Call(StrEnum):
    """What to do."""

    SHIP = "ship"
    SHIP_BEHIND_GATE = "ship_behind_gate"
    DONT_SHIP = "dont_ship"
    NOT_ENOUGH_DATA = "not_enough_data"
    NOT_A_FAIR_TEST = "not_a_fair_test"

    @property
    def exit_code(self) -> int:
        """Of the command that ends with it."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Call.SHIP: 0,
    Call.SHIP_BEHIND_GATE: 0,
    Call.DONT_SHIP: 1,
    Call.NOT_ENOUGH_DATA: 3,
    Call.NOT_A_FAIR_TEST: 4,
}
