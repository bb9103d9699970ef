"""Everything a user can set: typed, checked, described once.

The command line, `config.toml` and the documentation all read these models, so a
setting has one name, one default and one description. Unknown names are refused.
`Preprocess` is here, too: it is the one thing `models` and `data` share.

Not here: what only developers turn (chunk sizes, tolerances) stays beside its code.
"""

from bowerbird.config.augment import parse_augment
from bowerbird.config.base import Preprocess, Settings
from bowerbird.config.data import ReadConfig, SplitConfig
from bowerbird.config.expand import ExpandConfig
from bowerbird.config.network import NetworkConfig
from bowerbird.config.recipe import Recipe, load_recipe, mistake, validated
from bowerbird.config.texts import parse_duration
from bowerbird.config.train import TrainConfig

__all__ = [
    "ExpandConfig",
    "NetworkConfig",
    "Preprocess",
    "ReadConfig",
    "Recipe",
    "Settings",
    "SplitConfig",
    "TrainConfig",
    "load_recipe",
    "mistake",
    "parse_augment",
    "parse_duration",
    "validated",
]
