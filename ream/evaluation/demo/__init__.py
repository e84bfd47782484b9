"""The items of the demo tasks (data/tasks), made from the held-out split of the built-in text.

The functions that score the tasks are in `ream.evaluation.demo_scoring`.
"""
