"""The nouns of evaluation: `Predictions`, `ClassScore`, `Confusion`, `Evaluation`."""
