"""The feature lab: a network taken apart, its features ranked, swept and looked at."""
