"""Feature extractors, and features on disk."""
