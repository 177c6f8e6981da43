"""`python -m tietrain` is the console script `tietrain`."""

import sys

from tietrain.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
