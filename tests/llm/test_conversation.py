"""A conversation: rolled back equals never heard, history holds what was heard, calls fit their schemas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import pytest
import torch
from stretto.llm.constraints.call_path import LONGEST_CALL, LONGEST_STRING, CallPath
from stretto.llm.constraints.call_text import parse_call
from stretto.llm.constraints.schema import UnsupportedSchema
from stretto.llm.conversation import LocalConversation
from stretto.llm.engine import Job
from stretto.llm.format import call_segment, say_segment
from stretto.llm.language_model import Call, Canvas, Draft, Settled, ToolChoice
from stretto.llm.local import LocalModel, Sampler
from stretto.llm.tokenizer import CALL, END, MARKS, PADS, SAY, embedded_tokenizer
from stretto.llm.transformer import Config, Transformer
from stretto.llm.verify import STALE, Proposal, VerifiedWriting
from stretto.llm.writing import SAY_CANVAS


@dataclass
class Spec:
    name: str
    description: str = "Do it."
    parameters: dict[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {}, "required": []}
    )


BOOK = Spec(
    "book",
    parameters={
        "type": "object",
        "properties": {"day": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["day"],
    },
)
TOOLS = [BOOK, Spec("book_hotel"), Spec("hang_up")]


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModel]:
    torch.manual_seed(3)
    size = embedded_tokenizer().size
    tiny = Config(size, layers=2, width=32, heads=2, kv_heads=1, head_width=16, hidden=48)
    local = LocalModel(model=Transformer(tiny).eval(), context=256)
    yield local
    local.close()


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(work())


async def drafted(conversation: LocalConversation, **options: Any) -> tuple[list[Any], Draft]:
    items = [item async for item in conversation.draft(**options)]
    return items, items[-1]


def shown(model: LocalModel, conversation: LocalConversation) -> str:
    return "".join(model.tokenizer.show(t) for t in conversation.prompt())


def steer(model: LocalModel, conversation: LocalConversation, token: int) -> None:
    """Let the causal head want a token first: the rest of the logits stay the model's."""
    real = conversation.read

    def read(ids: list[int], count: int = 1) -> Job[torch.Tensor]:
        rows = yield from real(ids, count)
        return torch.stack([_with(row, token) for row in rows])

    conversation.read = read  # type: ignore[method-assign]


def _with(logits: torch.Tensor, token: int) -> torch.Tensor:
    logits = logits.clone()
    logits[token] = 1e4
    return logits


def test_words_that_changed_leave_no_trace(model: LocalModel) -> None:
    async def work() -> None:
        once, twice = model.open("Be brief.", TOOLS), model.open("Be brief.", TOOLS)
        for words in ("I want", "I want a cable", "I want a table for", "I want a table for four"):
            changed = await twice.hear(words)
        plain = await once.hear("I want a table for", "four")
        assert changed.p_end == pytest.approx(plain.p_end, rel=1e-3)
        assert changed.p_say + changed.p_call == pytest.approx(1.0)
        (_, a), (_, b) = await drafted(once), await drafted(twice)
        assert (a.text, [c.arguments for c in a.calls]) == (b.text, [c.arguments for c in b.calls])

    run(work)


def test_words_may_come_in_two_parts_with_or_without_the_space_between_them(model: LocalModel) -> None:
    async def work() -> None:
        whole, parts, spaced = (model.open("Help.", []) for _ in range(3))
        signals = [
            await whole.hear("I want a table for two"),
            await parts.hear("I want a", "table for two"),
            await spaced.hear("I want a", " table for two"),
        ]
        assert signals[0] == signals[1] == signals[2]
        assert whole.prompt() == parts.prompt() == spaced.prompt()
        for conversation in (whole, parts, spaced):
            conversation.close()

    run(work)


def test_a_full_stop_at_a_pause_does_not_make_an_end(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        bare = await conversation.hear("I want a table for")
        for words in ("I want a table for.", "I want a table for...", "I want a table for?!"):
            assert (await conversation.hear(words)).p_end == pytest.approx(bare.p_end, rel=1e-3)
        other = await conversation.hear("I want a table for four")
        assert other.p_end != pytest.approx(bare.p_end, rel=1e-3)

    run(work)


def test_a_draft_changes_nothing_until_it_is_committed(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        await conversation.say("Hello.")
        await conversation.hear("A table")
        before = conversation.prompt()
        items, draft = await drafted(conversation)
        assert conversation.prompt() == before
        await conversation.commit(draft)
        assert len(conversation.prompt()) > len(before)
        assert conversation.prompt()[: len(before)] == before
        assert isinstance(items[0], Canvas) and isinstance(items[-1], Draft)

    run(work)


def test_words_are_settled_from_the_left_and_history_keeps_what_was_heard(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        steer(model, conversation, SAY)
        await conversation.hear("A table")
        items, draft = await drafted(conversation, effort="high")
        settled = [i.text for i in items if isinstance(i, Settled)]
        assert settled and all(draft.text.startswith(s.rstrip("\ufffd")) for s in settled)
        await conversation.commit(draft)
        assert shown(model, conversation).count("<user> A table<end><say>") == 1
        await conversation.commit(draft, heard="Only this")
        assert shown(model, conversation).endswith("<user> A table<end><say> Only this<end>")
        await conversation.commit(draft, heard="")
        assert shown(model, conversation).endswith("<user> A table<end>")

    run(work)


def test_calls_name_a_tool_and_fit_its_schema(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        steer(model, conversation, CALL)
        await conversation.hear("A table")
        items, draft = await drafted(conversation, effort="minimal")
        assert draft.calls and not draft.text
        specs = {t.name: t for t in TOOLS}
        for call in draft.calls:
            jsonschema.validate(call.arguments, specs[call.name].parameters)
        assert draft.forwards >= max(i.forward for i in items if isinstance(i, Canvas))
        with pytest.raises(KeyError, match="commit its draft"):
            await conversation.tool_result(draft.calls[0].id, "{}")
        await conversation.commit(draft)
        await conversation.tool_result(draft.calls[0].id, '{"ok": true}')
        assert shown(model, conversation).endswith(f'<tool>{draft.calls[0].name} {{"ok":true}}<end>')

    run(work)


def test_without_tools_it_only_speaks(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", [])
        steer(model, conversation, CALL)
        await conversation.hear("Hello")
        _, draft = await drafted(conversation, effort="minimal")
        assert not draft.calls and draft.segments[0][0] == SAY

    run(work)


@pytest.mark.parametrize("sampler", ["threshold", "verified", "causal"])
def test_where_calls_are_not_wanted_none_is_begun_in_the_words_either(
    model: LocalModel, sampler: Sampler
) -> None:
    local = LocalModel(model=model.transformer, context=256, sampler=sampler)

    async def work() -> None:
        conversation = local.open("Be brief.", TOOLS, ToolChoice("none"))
        steer(local, conversation, CALL)
        await conversation.hear("A table")
        _, draft = await drafted(conversation, effort="minimal")
        assert not draft.calls and draft.segments[0][0] == SAY and CALL not in draft.segments[0]

    run(work)
    local.close()


def test_a_long_call_drops_its_oldest_turns_and_keeps_system_and_tools(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        for number in range(60):
            await conversation.hear(f"This is what I said in turn {number}, and it is not short.")
            await conversation.say("Okay.")
        await conversation.hear("word " * 2000)
        text = shown(model, conversation)
        assert text.startswith("<system>Be brief.\nbook(day: string, people?: integer)")
        assert "in turn 0," not in text
        _, draft = await drafted(conversation, effort="minimal")
        assert draft.forwards

    run(work)


def test_a_deadline_still_gives_a_whole_turn(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        await conversation.hear("Hello")
        _, slow = await drafted(conversation, effort="high")
        _, fast = await drafted(conversation, effort="high", deadline_ms=0.0)
        assert fast.forwards <= slow.forwards
        assert fast.segments and fast.segments[-1][-1] in (END, CALL)

    run(work)


def test_an_abandoned_draft_frees_the_conversation(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        await conversation.hear("Hello")
        draft = conversation.draft("high")
        await anext(draft)
        await draft.aclose()
        async with asyncio.timeout(5):
            await conversation.hear("Hello there")

    run(work)


def test_a_closed_conversation_and_an_odd_tool_say_so(model: LocalModel) -> None:
    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        conversation.close()
        with pytest.raises(RuntimeError, match="open another"):
            await conversation.hear("Hello")
        odd = {
            "type": "object",
            "properties": {"x": {"type": "string", "pattern": "(?=a)b"}},
            "required": ["x"],
        }
        with pytest.raises(UnsupportedSchema):
            model.open("Be brief.", [Spec("odd", parameters=odd)])
        long = {"type": "object", "properties": {"x": {"const": "word " * 200}}, "required": ["x"]}
        with pytest.raises(UnsupportedSchema, match=f"a call has at most {LONGEST_CALL}"):
            model.open("Be brief.", [Spec("long", parameters=long)])

    run(work)


def test_the_causal_mode_writes_the_likeliest_token_each_time(model: LocalModel) -> None:
    causal = LocalModel(model=model.transformer, context=256, sampler="causal")

    async def work() -> None:
        conversation = causal.open("Be brief.", TOOLS)
        steer(causal, conversation, CALL)
        await conversation.hear("A table")
        items, draft = await drafted(conversation)
        specs = {t.name: t for t in TOOLS}
        for call in draft.calls:
            jsonschema.validate(call.arguments, specs[call.name].parameters)
        chosen = sum(len(causal.tokenizer.encode(call.name)) for call in draft.calls)
        assert draft.calls and draft.forwards >= draft.tokens - chosen  # names leave little choice
        plain = causal.open("Be brief.", [])
        await plain.hear("A table")
        base = plain.prompt()
        items, draft = await drafted(plain)
        (said,) = draft.segments
        for at in range(1, min(len(said), 12)):
            logits = (await causal.engine.run(plain.read([*base, *said[:at]])))[-1].clone()
            logits[[i for i in range(len(MARKS)) if i != END]] = -torch.inf
            assert said[at] == int(logits.argmax())
        assert [len(item.tokens) for item in items if isinstance(item, Canvas)] == list(range(1, len(said)))

    run(work)
    causal.close()


def test_a_string_that_goes_on_and_on_is_ended(model: LocalModel) -> None:
    """A word that is likeliest wherever it may stand fills no more than one string's length."""
    vocabulary = model.vocabulary
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
              "required": ["a", "b"]}  # fmt: skip
    (word,) = model.tokenizer.encode(" table")
    row = torch.zeros(model.tokenizer.size)
    row[word] = 50.0
    path, ids = CallPath(vocabulary.compile(schema)), []
    while not path.automaton.is_final(path.state):
        ids.append(path.take(path.likeliest(row, None)))
    _, arguments = parse_call("x" + model.tokenizer.decode(ids[:-1]), schema)
    jsonschema.validate(arguments, schema)
    counts = [value.count("table") for value in arguments.values()]
    assert len(counts) == 2 and all(LONGEST_STRING - 2 <= count <= LONGEST_STRING + 1 for count in counts)
    with pytest.raises(ValueError, match="not allowed"):
        CallPath(path.automaton).take(word)


@pytest.mark.parametrize("seed", range(5))
def test_verified_canvases_say_what_the_causal_mode_says(seed: int) -> None:
    torch.manual_seed(seed)
    size = embedded_tokenizer().size
    tiny = Config(
        size, layers=2, width=32, heads=2, kv_heads=1, head_width=16, hidden=48, shifted=bool(seed % 2)
    )
    transformer = Transformer(tiny).eval()
    verified, causal = (
        LocalModel(model=transformer, context=256, sampler=sampler) for sampler in ("verified", "causal")
    )

    async def turn(local: LocalModel, mark: int) -> Draft:
        conversation = local.open("Be brief.", TOOLS)
        await conversation.hear(f"A table for {seed}")
        real, prompt = conversation.read, conversation.prompt()

        def routed(ids: list[int], count: int = 1) -> Job[torch.Tensor]:  # only the first decision is steered
            rows = yield from real(ids, count)
            return _with(rows[-1], mark)[None] if ids == prompt else rows

        conversation.read = routed  # type: ignore[method-assign]
        return (await drafted(conversation))[1]

    async def work() -> None:
        for mark in (SAY, CALL):
            one, other = await turn(verified, mark), await turn(causal, mark)
            assert one.segments == other.segments
            assert [(c.name, c.arguments) for c in one.calls] == [(c.name, c.arguments) for c in other.calls]

    run(work)
    verified.close()
    causal.close()


def test_a_proposal_is_checked_as_far_as_it_may_be_right() -> None:
    sure = Proposal([5, 6, 7, 8], [0.1, 0.9, 0.5, 0.01])
    assert sure.put(5) == ([5, 6, 7], 2), "the first is known to be right, the last is not worth it"
    assert sure.put(9) == ([9, 6, 7, 8], 1), "what stands behind a wrong token may still be right"
    assert sure.behind(2) == Proposal([7, 8], [0.5, 0.01])
    assert Proposal([], []).put(4) == ([4], 1)
    assert len(Proposal(list(range(20, 40)), [0.5] * 20).put(1)[0]) == 1 + STALE


def test_a_draft_that_agrees_costs_one_forward_a_canvas(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    causal = LocalModel(model=model.transformer, context=256, sampler="causal")

    async def work() -> None:
        plain = causal.open("Be brief.", [])
        await plain.hear("A table")
        (said,) = (await drafted(plain))[1].segments
        conversation = model.open("Be brief.", [])
        await conversation.hear("A table")
        real = VerifiedWriting._pass
        kinds: list[int] = []

        def agreeing(writing: VerifiedWriting, body: list[int], size: int, known: int, count: int = 1) -> Any:
            rows, scores = yield from real(writing, body, size, known, count)
            kinds.append(count)
            for place in range(size):
                at = len(writing.ids) + len(body) - known + place
                scores[place] = 0.0
                scores[place, said[at] if at < len(said) else PADS[0]] = 50.0
            return rows, scores

        monkeypatch.setattr(VerifiedWriting, "_pass", agreeing)
        items, draft = await drafted(conversation)
        assert draft.segments == (said,)
        assert draft.forwards == 2 + len(kinds[1:]) and len(kinds) <= 2 + len(said) // (SAY_CANVAS - 1)
        assert len(said) > 3 * len(kinds), "as long a reply that it matters"
        shown = [item for item in items if isinstance(item, Canvas)]
        assert shown[0].tokens[: SAY_CANVAS - 1] == shown[-1].tokens[: SAY_CANVAS - 1]

    run(work)
    causal.close()


def test_restored_history_reads_as_if_it_had_been_lived(model: LocalModel) -> None:
    """Words, a call with its result and an answer: the same tokens, whichever way they came there."""

    async def work() -> None:
        lived, restored = model.open("Be brief.", TOOLS), model.open("Be brief.", TOOLS)
        call = Call("one", "book", {"day": "Monday"})
        segments = (
            say_segment(model.tokenizer, "One moment.", True).ids,
            call_segment(model.tokenizer, "book", {"day": "Monday"}, BOOK.parameters, first=False).ids,
        )
        await lived.say("Hello.")
        await lived.hear("A table on Monday.")
        await lived.commit(Draft("One moment.", (call,), revision=1, segments=segments))
        await lived.tool_result("one", '{"ok":true}')
        await restored.say("Something else.")
        await restored.hear("Nothing of this counts.")
        await restored.commit(Draft(""))
        await restored.restore(
            [
                {"role": "assistant", "content": "Hello."},
                {"role": "user", "content": "A table on Monday."},
                {
                    "role": "assistant",
                    "content": "One moment.",
                    "tool_calls": [{"id": "one", "name": "book", "arguments": {"day": "Monday"}}],
                },
                {"role": "tool", "content": '{"ok":true}', "name": "book", "tool_call_id": "one"},
            ]
        )
        assert restored.prompt() == lived.prompt()
        signals = [await c.hear("And for six people.") for c in (lived, restored)]
        assert signals[0].p_end == pytest.approx(signals[1].p_end, rel=1e-3)

    run(work)


def test_a_draft_without_words_keeps_what_was_heard(model: LocalModel) -> None:
    """Two turns of the caller in a row, nothing said between them: both are known."""

    async def work() -> None:
        conversation = model.open("Be brief.", TOOLS)
        await conversation.hear("First this.")
        await conversation.commit(Draft("", revision=-1))
        await conversation.hear("Then that.")
        assert [w for w in conversation.words() if w.strip()] == [" First this.", " Then that."]

    run(work)
