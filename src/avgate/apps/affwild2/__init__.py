"""Aff-Wild2's own protocol: submissions, reproduction, and what papers report."""
