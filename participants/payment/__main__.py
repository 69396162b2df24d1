"""``python -m participants.payment``: this service in a process of its own."""

import sys

from participants.payment.api import SERVICE
from participants.process import main

if __name__ == "__main__":
    sys.exit(main(SERVICE))
