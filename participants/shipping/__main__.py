"""``python -m participants.shipping``: this service in a process of its own."""

import sys

from participants.process import main
from participants.shipping.api import SERVICE

if __name__ == "__main__":
    sys.exit(main(SERVICE))
