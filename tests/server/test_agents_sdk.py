"""The Agents SDK's realtime session, with our address: audio in, a tool of its own, audio out."""

from __future__ import annotations

import asyncio

from stretto.llm.language_model import Call


def policy(thought):
    results = [text for role, text in thought.messages if role == "tool"]
    if results:
        return f"It is {results[-1].strip(chr(34))}."
    return Call("id1", "get_weather", {"city": "Oslo"})


def test_a_call_of_the_agents_sdk(house):
    from agents import function_tool
    from agents.realtime import RealtimeAgent, RealtimeRunner

    asked = []

    @function_tool
    def get_weather(city: str) -> str:
        """Tell the weather."""
        asked.append(city)
        return "sunny"

    house.brain.policy = policy
    agent = RealtimeAgent(name="Weather", instructions="Tell the weather.", tools=[get_weather])

    async def work():
        async with house.serving() as url:
            address = f"{url}/v1/realtime?model=stretto".replace("http", "ws")
            runner = RealtimeRunner(agent)
            audio, history, errors = b"", [], []
            config = {"url": address, "api_key": "none"}
            async with asyncio.timeout(60), await runner.run(model_config=config) as session:
                await session.send_audio(house.spoken("What is the weather in Oslo?").astype("<i2").tobytes())
                async for event in session:
                    if event.type == "audio":
                        audio += event.audio.data
                    elif event.type == "history_updated":
                        history = event.history
                    elif event.type == "error":
                        errors.append(event.error)
                    elif event.type == "audio_end":
                        break
            assert asked == ["Oslo"] and not errors
            assert len(audio) > 24_000
            assert house.brain.last.system == "Tell the weather."
            roles = [item.role for item in history if item.type == "message"]
            assert "user" in roles and roles[-1] == "assistant"

    asyncio.run(work())
