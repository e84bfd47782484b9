"""Other tools on the same model and tokens, in processes of their own."""
