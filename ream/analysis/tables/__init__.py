"""Tables as values, their Markdown, CSV and LaTeX, and the tables of the paper and of the report."""
