"""Random changes of training images: drawn, applied, shown, and written out."""
