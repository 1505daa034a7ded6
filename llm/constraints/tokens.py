"""Byte automaton x vocabulary -> token automaton.

A trie of the vocabulary is walked through the byte automaton from all its states at once. Tokens that lead
from one state to the same next state are one edge; edges with the same tokens share one class, so that per
canvas position the best token of an edge is one segment maximum, whatever the number of string slots.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atoms import Atoms, atoms_of, expand
from .automaton import ByteAutomaton
from .schema import Limits, UnsupportedSchema, byte_automaton, value_automaton
from .spans import KEYWORD
from .speech import reply_language

Ints = NDArray[np.int64]
UNREACHABLE = np.iinfo(np.int32).max
MOST_EDGES = 10_000
"""Of an automaton whose marginals are worth their time: beyond it they cost as much as a model's pass."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TokenAutomaton:
    """A deterministic automaton over token ids, from the brace after a tool's name to behind its terminator.

    State 0 is the start, `ended` the state behind `<end>`, `called` behind `<call>` (None without one); these
    two are final, only pads follow. Every other state can reach one of them. Edges are sorted by target.

    `source`, `target`, `token_class`: int64 [edges]; tokens of class c are
    `class_tokens[class_start[c]:class_start[c + 1]]`, sorted. One virtual class, the
    pads, follows the real ones. `distance`: int64 [states], tokens to the nearest acceptance, terminator
    included.
    """

    source: Ints
    target: Ints
    token_class: Ints
    class_tokens: Ints
    class_start: Ints
    distance: Ints
    ended: int
    called: int | None
    pads: tuple[int, ...]
    vocabulary_size: int

    @property
    def states(self) -> int:
        return len(self.distance)

    @property
    def classes(self) -> int:
        """How many classes of tokens there are; it is also the number of the pads' class."""
        return len(self.class_start) - 1

    @property
    def exact(self) -> bool:
        """Whether `marginals` are exact; else the best path's own probabilities stand for them."""
        return len(self.source) <= MOST_EDGES

    def is_final(self, state: int) -> bool:
        return state == self.ended or state == self.called

    def tokens_of(self, token_class: int) -> Ints:
        return self.class_tokens[self.class_start[token_class] : self.class_start[token_class + 1]]

    def classes_of(self, token: int) -> Ints:
        """The classes that a token is in."""
        return self.atoms.classes_of(self.atoms.of_token[[token]])[1]

    @cached_property
    def atoms(self) -> Atoms:
        """The tokens that no class tells apart."""
        return atoms_of(self.class_tokens, self.class_start, self.vocabulary_size)

    @cached_property
    def begins(self) -> Ints:
        """[states + 1]: where the edges into each state begin."""
        return np.searchsorted(self.target, np.arange(self.states + 1))

    @cached_property
    def heads(self) -> Ints:
        """The states that edges lead into."""
        return np.flatnonzero(np.diff(self.begins))

    @cached_property
    def _outgoing(self) -> tuple[Ints, Ints]:
        """The edges in the order of their sources, and where those of each state begin."""
        order = np.argsort(self.source, kind="stable")
        return order, np.searchsorted(self.source[order], np.arange(self.states + 1))

    @cached_property
    def _allowed(self) -> dict[tuple[int, ...], Ints]:
        """Found so far, by the classes of the edges: states inside strings share theirs."""
        return {}

    def edges_from(self, state: int) -> Ints:
        """The edges out of a state."""
        order, begins = self._outgoing
        return order[begins[state] : begins[state + 1]]

    def allowed(self, state: int) -> Ints:
        """Sorted ids of the tokens that may follow in a state that is not final. Not to be written to."""
        classes = tuple(sorted(self.token_class[self.edges_from(state)].tolist()))
        found = self._allowed.get(classes)
        if found is None:
            lists = [self.tokens_of(token_class) for token_class in classes if token_class < self.classes]
            found = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *lists]))
            self._allowed[classes] = found
        return found

    def advance(self, state: int, token: int) -> int | None:
        """The state after a token, None if it may not follow; a final state stays."""
        if self.is_final(state):
            return state
        edges = self.edges_from(state)
        found = edges[np.isin(self.token_class[edges], self.classes_of(token))]
        return int(self.target[found[0]]) if len(found) else None


def shortest(automaton: TokenAutomaton, state: int = 0) -> int:
    """Fewest tokens from a state to acceptance, terminator included; 0 in a final state."""
    return int(automaton.distance[state])


def _within(automaton: TokenAutomaton, longest: int | None, kind: str) -> TokenAutomaton:
    least = shortest(automaton)
    if longest is not None and least > longest:
        raise UnsupportedSchema(
            "", f"the shortest {kind} takes {least} tokens, a {kind} has at most {longest}",
            "require fewer or shorter parts",
        )  # fmt: skip
    return automaton


def _key(schema: Mapping[str, Any]) -> str:
    try:
        return json.dumps(schema, separators=(",", ":"), default=str)
    except (RecursionError, ValueError):  # it may also refer to itself as an object
        raise UnsupportedSchema("", "it is nested too deeply", "flatten it") from None


class TokenVocabulary:
    """Token texts as a trie, with a cache of compiled schemas.

    `tokens`: bytes of each id, None for specials (never written inside a call). `end` and `call` end a call's
    segment, `pads` fill the canvas behind them in this order, over and over. Thread-safe.
    """

    def __init__(
        self,
        tokens: Sequence[bytes | None],
        end: int,
        call: int | None = None,
        pads: Sequence[int] = (),
        cached: int = 256,
    ) -> None:
        specials = [end, *pads] if call is None else [end, call, *pads]
        for special in specials:
            if not 0 <= special < len(tokens) or tokens[special] is not None:
                raise ValueError(f"token {special} is no special of this vocabulary: its text must be None")
        self.size = len(tokens)
        self.end, self.call, self.pads = end, call, tuple(pads)
        self._cached = cached
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[object, ...], TokenAutomaton] = OrderedDict()
        self._build(tokens)

    def _build(self, tokens: Sequence[bytes | None]) -> None:
        children: list[dict[int, int]] = [{}]
        ids: list[list[int]] = [[]]
        for token, data in enumerate(tokens):
            if not data:
                continue
            node = 0
            for byte in data:
                following = children[node].get(byte)
                if following is None:
                    following = children[node][byte] = len(children)
                    children.append({})
                    ids.append([])
                node = following
            ids[node].append(token)
        counts = [len(below) for below in children]
        self._child_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._child = np.array([c for below in children for c in below.values()], dtype=np.int64)
        self._child_byte = np.array([b for below in children for b in below], dtype=np.int64)
        self._id_start = np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64)
        self._ids = np.array([token for here in ids for token in here], dtype=np.int64)

    def compile(
        self,
        schema: Mapping[str, Any],
        limits: Limits | None = None,
        longest: int | None = None,
        spans: Sequence[str] = (),
    ) -> TokenAutomaton:
        """The automaton of a tool's arguments, from the cache where it is there.

        `spans`: the texts of the conversation, which matter only to a schema with "x-spans-only" strings; see
        `byte_automaton`. Raises UnsupportedSchema, also where the shortest arguments take more than `longest`
        tokens.
        """
        limits = limits or Limits()
        key = _key(schema)
        said = tuple(spans) if f'"{KEYWORD}"' in key else ()
        made = self._remembered(
            ("call", key, limits, said), lambda: self.automaton(byte_automaton(schema, limits, said))
        )
        return _within(made, longest, "call")

    def value(self, schema: Mapping[str, Any], longest: int | None = None) -> TokenAutomaton:
        """The automaton of a reply that is the JSON text of a value of a schema, and ends. Cached.

        Raises UnsupportedSchema as `compile` does.
        """
        made = self._remembered(
            ("value", _key(schema)), lambda: self.automaton(value_automaton(schema), False)
        )
        return _within(made, longest, "reply")

    def reply(
        self, never: Iterable[str] = (), required: Iterable[str] = (), call_follows: bool = False
    ) -> TokenAutomaton:
        """The automaton of running text that keeps to what is said never and by all means. Cached.

        See `reply_language`. With `call_follows` it may end in `<call>` as well. Raises Unsayable.
        """
        never, required = tuple(sorted(set(never))), tuple(sorted(set(required)))
        key = ("reply", never, required, call_follows)
        return self._remembered(key, lambda: self.automaton(reply_language(never, required), call_follows))

    def _remembered(self, key: tuple[object, ...], make: Callable[[], TokenAutomaton]) -> TokenAutomaton:
        with self._lock:
            found = self._compiled.get(key)
            if found is not None:
                self._compiled.move_to_end(key)
                return found
        made = make()
        with self._lock:
            self._compiled[key] = made
            while len(self._compiled) > self._cached:
                self._compiled.popitem(last=False)
        return made

    def automaton(self, language: ByteAutomaton, call_follows: bool = True) -> TokenAutomaton:
        """The token automaton of a byte automaton. Raises UnsupportedSchema if the tokens cannot spell it.

        Without `call_follows` it ends in `<end>` alone.
        """
        call = self.call if call_follows else None
        origin, token, target = self._walk(language)
        count = len(language.accepting)
        ended, called = count, count + 1
        accepting = np.flatnonzero(language.accepting)
        for special, state in ((self.end, ended), (call, called)):
            if special is not None:
                origin = np.concatenate([origin, accepting])
                token = np.concatenate([token, np.full(len(accepting), special)])
                target = np.concatenate([target, np.full(len(accepting), state)])
        # One key a transition sorts several times faster than three columns: state, next state, token.
        key = np.sort((origin * (count + 2) + target) * self.size + token)
        pair, token = np.divmod(key, self.size)
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        source, target = np.divmod(pair[first], count + 2)
        lengths = np.diff(np.append(first, len(token)))
        distance = _distances(source, target, count + 2, (ended, called))
        useful = (distance < UNREACHABLE) & _reached(source, target, distance)
        if not useful[0]:
            raise UnsupportedSchema("", "the vocabulary cannot spell any text of it", "give it all 256 bytes")
        useful[ended] = True
        useful[called] = call is not None
        kept = useful[source] & useful[target]
        renumber = np.cumsum(useful) - 1
        final = [int(renumber[ended])] + ([int(renumber[called])] if call is not None else [])
        classes, class_tokens, class_start = _share(token, first[kept], lengths[kept])
        real = len(class_start) - 1
        source = np.concatenate([renumber[source[kept]], final])
        target = np.concatenate([renumber[target[kept]], final])
        classes = np.concatenate([classes, [real] * len(final)])
        order = np.lexsort((source, target))
        if len(order) > MOST_EDGES:
            _log.warning(
                "an automaton has %d edges, more than %d: the best path is exact, but how sure a token is "
                "is the model's own probability of it; use fewer or shorter counted strings and lists",
                len(order), MOST_EDGES,
            )  # fmt: skip
        return TokenAutomaton(
            source[order], target[order], classes[order], class_tokens, class_start, distance[useful],
            final[0], final[1] if len(final) > 1 else None, self.pads, self.size,
        )  # fmt: skip

    def _walk(self, language: ByteAutomaton) -> tuple[Ints, Ints, Ints]:
        """All (state, token, next state), level by level of the trie."""
        current = np.arange(len(language.accepting), dtype=np.int64)
        origin, node = current, np.zeros_like(current)
        found: list[tuple[Ints, Ints, Ints]] = []
        while len(node):
            pairs, child = expand(self._child_start, node)
            following = language.transitions[current[pairs], self._child_byte[child]].astype(np.int64)
            alive = following >= 0
            origin, node, current = origin[pairs[alive]], self._child[child[alive]], following[alive]
            pairs, place = expand(self._id_start, node)
            found.append((origin[pairs], self._ids[place], current[pairs]))
        columns = [np.concatenate(column) for column in zip(*found, strict=True)]
        return columns[0], columns[1], columns[2]


def _distances(source: Ints, target: Ints, states: int, final: tuple[int, ...]) -> Ints:
    distance = np.full(states, UNREACHABLE, dtype=np.int64)
    distance[list(final)] = 0
    order = np.argsort(source, kind="stable")
    from_state, to_state = source[order], target[order]
    first = np.flatnonzero(np.diff(from_state, prepend=-1))
    if not len(first):
        return distance
    heads = from_state[first]
    while True:
        best = np.minimum.reduceat(distance[to_state], first) + 1
        shorter = best < distance[heads]
        if not shorter.any():
            return distance
        distance[heads[shorter]] = best[shorter]


def _reached(source: Ints, target: Ints, distance: Ints) -> NDArray[np.bool_]:
    reached = np.zeros(len(distance), dtype=np.bool_)
    reached[0] = True
    live = distance[target] < UNREACHABLE
    source, target = source[live], target[live]
    while True:
        grown = reached.copy()
        grown[target[reached[source]]] = True
        if np.array_equal(grown, reached):
            return reached
        reached = grown


def _share(token: Ints, first: Ints, lengths: Ints) -> tuple[Ints, Ints, Ints]:
    """One class for all edges with equal token lists: (class of each edge, tokens, start of each class)."""
    seen: dict[bytes, int] = {}
    classes = np.empty(len(first), dtype=np.int64)
    lists: list[Ints] = []
    for edge, (begin, length) in enumerate(zip(first.tolist(), lengths.tolist(), strict=True)):
        tokens = token[begin : begin + length]
        key = tokens.tobytes()
        number = seen.setdefault(key, len(lists))
        if number == len(lists):
            lists.append(tokens)
        classes[edge] = number
    start = np.concatenate([[0], np.cumsum([len(tokens) for tokens in lists])]).astype(np.int64)
    return classes, np.concatenate(lists), start
