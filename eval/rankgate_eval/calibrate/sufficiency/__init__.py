"""Whether the best passages hold the answer: fitted on one half, confirmed on the other."""

from rankgate_eval.calibrate.sufficiency.fit import MOST_READ, SufficiencyFit, fit_sufficiency

__all__ = ["MOST_READ", "SufficiencyFit", "fit_sufficiency"]
