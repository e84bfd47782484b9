"""Which of the numbers that lm-eval gives for a task is its score."""

from collections.abc import Mapping
from typing import Any

from ream.errors import UserError


def headline(
    name: str, metrics: Mapping[str, Any], metric: str | None, chosen: str | None
) -> tuple[float, float | None, str]:
    """The score of a task among lm-eval's numbers: the first of the given metric and filter.

    Args:
        name: name of the task, for messages.
        metrics: "metric,filter" to value, and "metric_stderr,filter" to standard error, as fractions of 1.
        metric: name of the metric; None for any.
        chosen: name of the filter; None for any.

    Returns:
        value: the score, a fraction of 1.
        stderr: its standard error; None if lm-eval gives none.
        key: "metric,filter" of the score.

    Raises:
        UserError: no number has this metric and filter, or its value is not between 0 and 1.
    """
    keys = [key for key in metrics if "," in key and not key.split(",")[0].endswith("_stderr")]
    for key in keys:
        key_metric, _, key_filter = key.partition(",")
        if metric in (None, key_metric) and chosen in (None, key_filter):
            value, stderr = float(metrics[key]), metrics.get(f"{key_metric}_stderr,{key_filter}")
            if not 0 <= value <= 1:
                raise UserError(
                    f"metric '{key}' of task '{name}' is {value}, not between 0 and 1; choose another metric"
                )
            return value, stderr if isinstance(stderr, float) else None, key
    asked = ",".join(part for part in (metric, chosen) if part)
    raise UserError(f"metric '{asked}' of task '{name}' is unknown; it has: {', '.join(keys)}")
