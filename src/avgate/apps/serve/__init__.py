"""A server for browsers and programs: jobs that survive, and live streams."""
