"""The network and everything that describes it: encoders, fusions, losses, recipes, checkpoints."""
