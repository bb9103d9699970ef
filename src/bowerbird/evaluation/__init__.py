"""Scores with intervals, from predictions: how good, and where it goes wrong."""
