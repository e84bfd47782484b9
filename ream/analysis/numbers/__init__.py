"""Numbers from rows: means and intervals, correlations, Pareto fronts, differences; no tables, no drawings."""
