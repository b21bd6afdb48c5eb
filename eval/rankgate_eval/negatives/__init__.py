"""Questions that a corpus does not answer, given or made: what floors are fitted and judged on.

Reads data sets and first stages; calibration, training and evaluation may import it.
"""
