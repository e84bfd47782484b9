"""What a person types: one module a command, and the options that they share."""
