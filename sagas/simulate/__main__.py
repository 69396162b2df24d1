"""``python -m sagas.simulate``."""

import sys

from sagas.simulate.cli import main

if __name__ == "__main__":
    sys.exit(main())
