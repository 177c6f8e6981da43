"""`python -m tietrain` is the console script `tietrain`."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the current folder: Hydra would run a `hydra_plugins` that lies there
    from tietrain.cli.main import main

    sys.exit(main())
