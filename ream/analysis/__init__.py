"""Tables, figures and the report's page, made from results; each room imports only those before it in this list.

results (rows of scores), numbers (what follows from rows), tables, figures, html; `contents` puts a report together.
"""
