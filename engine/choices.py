"""What a user chooses for a computation, and the defaults. Imports nothing, so that `svdtui --help` is quick."""

from typing import Literal, get_args

Solver = Literal["gram64", "svd32", "svd64"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)

DEFAULT_K = 10
"""How many of the largest and smallest values the top and bottom ratios add up (the article's 10)."""
