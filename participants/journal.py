"""``python -m participants.journal``: the journal in a process of its own."""

import sys

from participants.process import main

if __name__ == "__main__":
    sys.exit(main(None, "journal"))
