"""``python -m pageann``: the same program as ``pageann``."""

from pageann.cli.main import entry

if __name__ == "__main__":
    entry()
