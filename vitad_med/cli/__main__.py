"""`python -m vitad_med.cli` does what `vitad-med` does."""

import sys

from vitad_med.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
