"""Names of the concierge's city: restaurants, hotels, people, places and goods.

Names are composed from small pools of words that a speech recogniser knows, so that thousands exist.
About 15 % of them, and every name with one of `HELD_OUT_WORDS`, never appear in training databases.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from functools import cache
from typing import Literal

Kind = Literal["restaurant", "hotel", "person", "place", "item"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


HELD_OUT_SHARE = 0.15
HELD_OUT_WORDS = frozenset(
    _words(
        "amber cactus falcon maple sunset orchard pelican juniper daniel nora bennett foster toaster guitar"
    )
)

_QUALITIES = _words(
    "Copper Golden Silver Lucky Happy Hungry Crooked Red Blue Green White Black Olive Amber Royal Jolly "
    "Little Old Rusty Wooden Velvet Crystal Iron Painted Singing Dancing Flying Sleepy Laughing Hidden "
    "Broken Sunny Salty Sweet Spicy Smoky Wild Gentle Purple Orange Brass Marble Stone Secret"
)
_THINGS = _words(
    "Kettle Lantern Dragon Spoon Anchor Rabbit Fox Lion Tiger Barrel Table Garden Lemon Pepper Apple "
    "Cactus Falcon Pelican Rooster Turtle Lobster Dolphin Rose Tulip Bell Crown Arrow Mirror Candle "
    "Feather Ladder Bucket Button Pumpkin Tomato Basket Bottle Compass Wagon Violin Monkey Elephant Swan"
)
_SPOTS = _words(
    "Harbor River Market Bridge Castle Mountain Valley Forest Ocean Island Meadow Orchard Sunset Lake "
    "Canyon Desert Station Village Summit Coast Prairie Lighthouse Sunrise Spring Winter Summer Autumn"
)
_EATERIES = ["Grill", "Kitchen", "Diner", "Bistro", "Cafe", "Tavern", "Steakhouse", "Oven"]
_CASAS = _phrases(
    "Casa Verde|Casa Blanca|Casa Maria|Casa Luna|Casa Rosa|Bella Roma|Bella Italia|Bella Napoli|Villa Rosa|"
    "Villa Milano|La Fontana|La Piazza|La Strada|El Toro|El Sol|Little Tokyo|Little Saigon|Taj Palace|"
    "Jade Palace|Peking Garden|Bombay Palace|Bangkok Express|Athena Taverna|Le Jardin|Chez Pierre"
)
_LODGINGS = ["Hotel", "Inn", "Lodge", "Suites", "Guesthouse", "Resort"]
_HOTEL_WORDS = _phrases(
    "Grand Palm|Royal Oak|Park View|Ocean Breeze|Garden|Harbor Light|Riverside|Lakeside|Sunset|Maple Leaf|"
    "Silver Birch|Golden Gate|Blue Lagoon|Windsor|Victoria|Lincoln|Franklin|Hamilton|Jefferson|Washington|"
    "Madison|Jackson|Oxford|Cambridge|Bristol|Boston|Chelsea|Kensington|Plaza|Imperial|Continental|"
    "Cedar|Willow|Juniper|Magnolia|Evergreen|Mountain View|Sea Star|White Swan|Red Lion|Black Horse|"
    "Four Winds|Seven Hills|Old Mill|Station|Central|Northern Star|Southern Cross|Diamond|Emerald|Ruby"
)
_FIRST_NAMES = _words(
    "James Mary John Linda Robert Susan Michael Karen David Lisa William Nancy Richard Betty Thomas Helen "
    "Charles Sandra Daniel Donna Matthew Carol Anthony Ruth Mark Sharon Paul Michelle Steven Laura Andrew "
    "Sarah Kevin Kimberly Brian Deborah George Jessica Edward Amy Ronald Anna Timothy Rebecca Jason "
    "Virginia Jeffrey Kathleen Ryan Pamela Jacob Martha Gary Angela Nicholas Emma Eric Olivia Jonathan "
    "Sophia Stephen Grace Larry Julia Justin Alice Scott Judy Brandon Victoria Frank Rachel Benjamin "
    "Hannah Gregory Nora Samuel Diana Patrick Natalie Jack Lily Dennis Rose Jerry Peter Oliver Henry"
)
_LAST_NAMES = _words(
    "Smith Johnson Williams Brown Jones Miller Davis Wilson Anderson Taylor Moore Jackson Martin White "
    "Thompson Harris Clark Lewis Robinson Walker Young Allen King Wright Scott Hill Green Adams Baker "
    "Nelson Carter Mitchell Roberts Turner Phillips Campbell Parker Evans Edwards Collins Stewart Morris "
    "Murphy Cook Rogers Morgan Cooper Peterson Reed Bailey Bell Kelly Howard Ward Cox Richardson Watson "
    "Brooks Wood James Bennett Gray Hughes Price Foster Sanders Ross Long Hunter Palmer Fisher Mason Stone"
)
_TREES = _words(
    "Oak Elm Cedar Pine Maple Birch Chestnut Walnut Lincoln Washington Franklin Madison Church Mill Bridge "
    "River Lake Park Garden Spring Union Liberty Victoria King Queen Castle Market Orchard Harbor Forest"
)
_LANDMARKS = ["Street", "Avenue", "Station", "Square", "Hospital", "Museum", "Library", "Theater", "Park"]
EVERYWHERE = ("the airport", "Central Station", "City Hall")
"""Places that every city has, in training and evaluation alike."""
_LOOKS = _words("blue red green black white gray brown yellow orange purple silver small large new")
_GOODS = _phrases(
    "jacket|lamp|backpack|suitcase|blanket|chair|table|mirror|coat|scarf|umbrella|clock|vase|"
    "toaster|kettle|pillow|curtains|boots|gloves|bag|desk|shelf|bench|carpet|guitar|helmet|bicycle"
)
_FIXED_GOODS = _phrases(
    "desk lamp|running shoes|coffee machine|hair dryer|tennis racket|yoga mat|phone case|laptop stand|"
    "water bottle|board game|cook book|sleeping bag|frying pan|alarm clock|bread knife|photo frame|"
    "bath towels|wool sweater|sun hat|rain coat|garden hose|tool box|picture book|jigsaw puzzle"
)

_COMMON = frozenset(
    word.lower()
    for word in (*_EATERIES, *_LODGINGS, *_LANDMARKS, *_words("The Casa Bella Villa La El Le Little"))
)


def held_out(name: str) -> bool:
    """Whether a name is kept out of training: a stable 15 % of all names, and some words."""
    words = re.findall(r"[a-z]+", name.lower())
    if HELD_OUT_WORDS.intersection(words):
        return True
    return zlib.crc32(" ".join(words).encode()) % 1000 < HELD_OUT_SHARE * 1000


def _restaurants() -> list[str]:
    names = [f"The {quality} {thing}" for quality in _QUALITIES for thing in _THINGS]
    names += [f"{quality} {thing}" for quality in ("Lucky", "Golden", "Happy", "Royal") for thing in _THINGS]
    names += [f"{spot} {eatery}" for spot in _SPOTS for eatery in _EATERIES]
    names += [f"{first}'s {eatery}" for first in _FIRST_NAMES if first[-1] != "s" for eatery in _EATERIES]
    # The fixed names stand several times, or the composed ones would drown them.
    return names + list(_CASAS) * 6


def _hotels() -> list[str]:
    names = [f"{words} {lodging}" for words in _HOTEL_WORDS for lodging in _LODGINGS]
    names += [f"The {quality} {spot} Hotel" for quality in _QUALITIES[:16] for spot in _SPOTS]
    return [f"Hotel {words}" for words in _HOTEL_WORDS] + names


def _people() -> list[str]:
    return [f"{first} {last}" for first in _FIRST_NAMES for last in _LAST_NAMES if first != last]


def _places() -> list[str]:
    return [f"{tree} {landmark}" for tree in _TREES for landmark in _LANDMARKS]


def _items() -> list[str]:
    return [f"{look} {good}" for look in _LOOKS for good in _GOODS] + list(_FIXED_GOODS) * 4


_POOLS: dict[Kind, Callable[[], list[str]]] = {
    "restaurant": _restaurants,
    "hotel": _hotels,
    "person": _people,
    "place": _places,
    "item": _items,
}


@cache
def pool(kind: Kind, only_held_out: bool) -> tuple[tuple[str, frozenset[str]], ...]:
    """Every name of a kind that is (or is not) held out, with the words that tell it apart."""
    names = [name for name in _POOLS[kind]() if held_out(name) == only_held_out]
    return tuple((name, frozenset(re.findall(r"[a-z]+", name.lower())) - _COMMON - {"s"}) for name in names)


def draw(kind: Kind, count: int, rng: random.Random, only_held_out: bool) -> list[str]:
    """Draw distinct names; while the pool allows it no two share a telling word.

    Two restaurants called after copper could not be told apart over a telephone.
    """
    names = pool(kind, only_held_out)
    chosen: dict[str, None] = {}
    used: set[str] = set()
    for _ in range(count * 8):
        if len(chosen) == count:
            return list(chosen)
        name, words = names[int(rng.random() * len(names))]
        if used.isdisjoint(words):
            used |= words
            chosen[name] = None
    while len(chosen) < count:
        chosen[rng.choice(names)[0]] = None
    return list(chosen)
