"""``python -m participants.inventory``: this service in a process of its own."""

import sys

from participants.inventory.api import SERVICE
from participants.process import main

if __name__ == "__main__":
    sys.exit(main(SERVICE))
