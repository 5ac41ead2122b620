"""`avgate predict`: from recordings of a person to traces, reports, and files that other programs read."""
