"""Does a transcript look as if the caller will go on? English words at the end of it tell."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that hardly ever end what somebody has to say.
_DANGLING = _words(
    """a an the these my your our his their its every each another
    and or but because if when while since although whether which who whose than as what's where's how's
    for to in at on of with from by about into near under between through during until before without
    i i'd i'll i'm i've we we'd we'll we're we've you'd you'll he she they it's that's there's
    could would should will shall may might must can't won't
    want wanted need like going looking trying calling thinking wondering hoping starting leaving arriving
    book reserve find get make check cancel change move see put
    um uh er erm hmm mm well actually maybe also just not very called named around somewhere something
    next half past quarter party number name more low mid moderately kind type sort lot bit couple"""
)
# Forms of verbs that end short answers ("yes it is") but hardly anything else.
_AUXILIARY = _words("is are was were am be been being do does did have has had can could would should will")
_YES_OR_NO = _words("yes yeah yep no nope sure of")
# Two words that want a third.
_PAIRS = re.compile(
    r"\b(?:(?:can|could|would|will|do|did|are|have|if) you|(?:tell|give|book|get|find|help|let|show|send) me"
    r"|(?:is|are|if|was) there|(?<!don't )(?<!didn't )know|i think|i said|it could be|"
    r"(?:how|that) (?:many|much|one))$"
)
# What opens a turn; alone it is rarely the whole of it.
_OPENING = re.compile(
    r"(?:(?:hi|hello|hey|oh|uh|um|okay|yes|good (?:morning|afternoon|evening|day)|there|thanks) )*"
    r"(?:hi|hello|hey|oh|sorry|no|wait|good|good (?:morning|afternoon|evening|day)|there) "
)
_DIGIT_WORDS = _words("zero oh one two three four five six seven eight nine double triple")
_ASKS_FOR_DIGITS = re.compile(
    r"\b(?:number|reference|code|digits?|phone|spell|spelling|e-?mail|zip|postcode|pin)\b", re.IGNORECASE
)


def asks_for_digits(question: str) -> bool:
    """True if the agent's words ask for something that is said in groups (a number, a code, a spelling)."""
    return bool(_ASKS_FOR_DIGITS.search(question))


def looks_unfinished(text: str, digits_asked: bool = False) -> bool:
    """True if `text` stops where people pause and not where they finish.

    `digits_asked`: the caller was asked for a number or a spelling, so digits at the end may go on.
    """
    text = text.strip()
    words = re.findall(r"[\w']+", text.lower().replace("’", "'"))
    if not words:
        return False
    if text.endswith((",", "-", "…", "...", "–", "—", ":")):
        return True
    plain, last = " ".join(words), words[-1]
    if _OPENING.fullmatch(plain + " "):
        return True
    if digits_asked and (last[-1].isdigit() or last in _DIGIT_WORDS or len(last) == 1):
        return True
    if text.endswith("?") and len(words) >= 4:  # a question may end in such a word ("What is it for?")
        return False
    if last in _AUXILIARY:
        return not (words[0] in _YES_OR_NO and len(words) <= 4)
    return last in _DANGLING or bool(_PAIRS.search(plain))
