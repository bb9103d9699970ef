"""Reading images, fixing class order, splitting. Never writes to the data folder."""
