"""The processes that estimate recordings, and who gives them jobs."""
