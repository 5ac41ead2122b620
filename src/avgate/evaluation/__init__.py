"""Labelled clips, and how well estimates agree with their labels."""
