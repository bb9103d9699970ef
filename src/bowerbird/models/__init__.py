"""Networks: made by name, with their weights, cut where they can be cut, written to disk."""

from bowerbird.models.networks import Network, create_model, load_network, save_network

__all__ = ["Network", "create_model", "load_network", "save_network"]
