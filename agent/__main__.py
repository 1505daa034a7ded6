"""`python -m stretto.agent`: the `stretto` command where it is not on the path."""

from __future__ import annotations

import sys

from stretto.agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
