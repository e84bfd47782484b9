"""What a model scores: tasks, held-out loss, ranks of hidden states."""
