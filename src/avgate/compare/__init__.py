"""Comparison of fusions under one protocol."""
