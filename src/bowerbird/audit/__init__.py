"""Finds what is wrong with a set of images: files, copies, labels, strangers, shortcuts."""
