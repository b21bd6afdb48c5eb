"""How well it answers: compare, the skip audit, feedback; imported by server and cli."""
