"""Tables, figures and the report page, made from results."""
