"""Inline SVG charts, one a file."""

from rankgate_eval.report.charts.forest import Forest
from rankgate_eval.report.charts.gate_frontier import gate_frontier
from rankgate_eval.report.charts.interval_plot import IntervalRow, interval_plot
from rankgate_eval.report.charts.latency_bars import latency_bars
from rankgate_eval.report.charts.recall_curve import recall_curve
from rankgate_eval.report.charts.reliability_curve import reliability_curve
from rankgate_eval.report.charts.slope_chart import slope_chart

__all__ = [
    "Forest",
    "IntervalRow",
    "gate_frontier",
    "interval_plot",
    "latency_bars",
    "recall_curve",
    "reliability_curve",
    "slope_chart",
]
