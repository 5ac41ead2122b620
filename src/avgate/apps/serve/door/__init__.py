"""The server's door: who may come in, how often, for how long, and what those are told who may not."""
