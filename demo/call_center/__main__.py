"""`python -m stretto.demo.call_center`: the support line, by telephone, browser and WebSocket."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
from datetime import date
from typing import TYPE_CHECKING

from stretto.demo.call_center.desk import CallCenter
from stretto.demo.call_center.shop import Shop

if TYPE_CHECKING:
    from stretto.agent.server.opening import ServeOptions


async def main() -> None:
    """Until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m stretto.demo.call_center", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--audiosocket", metavar="HOST:PORT", help="take calls from Asterisk there")
    parser.add_argument("--shop", default="shop.db", metavar="FILE", help="the database (default: shop.db)")
    parser.add_argument("--record", metavar="DIR", help="keep recordings and transcripts there")
    parser.add_argument("--model", help="as of `stretto talk` (default: the embedded model)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options: ServeOptions = {}
    if args.audiosocket:
        options["audiosocket"] = args.audiosocket
    if args.record:
        options["record"] = args.record
    shop = Shop.seeded(date.today(), args.shop)
    async with (
        CallCenter(shop) as center,
        center.agent(model=args.model) as agent,
        agent.serving(port=args.port, **options) as url,
    ):
        print(f"ready: {url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
