"""`python -m stretto.demo.home`."""

from __future__ import annotations

import sys

from stretto.agent.cli import main

sys.exit(main(["demo-home", *sys.argv[1:]]))
