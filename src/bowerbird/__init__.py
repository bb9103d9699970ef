"""Bowerbird: from a folder of labelled images to an honest, explained classifier."""
