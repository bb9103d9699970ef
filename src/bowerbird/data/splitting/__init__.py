"""Which images are for training, validation and test, and what must stay together."""
