"""``python -m sagas``."""

import sys

from sagas.cli import main

sys.exit(main())
