"""Comparing runs, networks and settings: what differs, what it costs, and what is only luck."""
