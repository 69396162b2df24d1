"""``python -m participants.order``: this service in a process of its own."""

import sys

from participants.order.api import SERVICE
from participants.process import main

if __name__ == "__main__":
    sys.exit(main(SERVICE))
