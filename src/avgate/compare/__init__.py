"""Fusions against each other under one protocol."""
