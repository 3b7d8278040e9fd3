"""``python -m pageann.bench``: the same as ``pageann bench``."""

import sys

from pageann.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
