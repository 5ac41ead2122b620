"""Feature extractors for faces."""
