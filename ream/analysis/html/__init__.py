"""The report as one HTML page: the verdict in words, figures, tables and views of the layers."""
