"""The one way from features to a trace."""
