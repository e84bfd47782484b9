"""LiveCodeBench code generation, release_v6, as a task of lm-eval (arXiv 2403.07974; docs/evaluation.md)."""
