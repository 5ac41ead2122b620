"""Feature extractors for sound."""
