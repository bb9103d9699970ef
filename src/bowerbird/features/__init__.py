"""Activations at a cut point, computed once and kept, for anything that needs them."""

from bowerbird.features.cache import FeatureCache, FeatureKey, StoreInfo
from bowerbird.features.extraction import Features, Image, extract

__all__ = ["FeatureCache", "FeatureKey", "Features", "Image", "StoreInfo", "extract"]
