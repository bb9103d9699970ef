"""``python -m bowerbird`` is the command ``bowerbird``."""

from bowerbird.cli import main

main()
