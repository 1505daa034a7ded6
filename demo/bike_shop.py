"""A phone agent with two tools in ten lines of your own asyncio program."""

import asyncio

from stretto.agent import Agent


def opening_hours(day: str) -> str:
    """When the shop is open on a day."""
    return "closed" if day.lower() == "sunday" else "nine to six"


async def book_repair(bike: str, day: str) -> str:
    """Book a repair."""
    return f"{bike} on {day}, number 17"


async def main() -> None:
    agent = Agent("You answer the phone of a bike shop.", [opening_hours, book_repair])
    async with agent, agent.serving(port=8080) as url:
        print(f"ready: {url}")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
