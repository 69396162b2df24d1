"""``python -m participants.product``: this service in a process of its own."""

import sys

from participants.process import main
from participants.product.api import SERVICE

if __name__ == "__main__":
    sys.exit(main(SERVICE))
