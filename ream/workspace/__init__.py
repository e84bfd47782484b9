"""Where artifacts lie, the original model they belong to, and what making them took."""
