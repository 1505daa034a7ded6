"""Wordings of callers' answers: to questions, read-backs, offers, results; corrections; interludes."""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().split("|"))


TEMPLATES: dict[str, tuple[str, ...]] = {
    "answer.restaurant": _lines(
        "{restaurant}|at {restaurant}|{restaurant} please|I'd like {restaurant}|it's {restaurant}|"
        "{restaurant}, please|I was thinking of {restaurant}|let's go with {restaurant}|"
        "the name is {restaurant}|I'd like to go to {restaurant}"
    ),
    "answer.hotel": _lines(
        "{hotel}|at {hotel}|{hotel} please|I'd like {hotel}|it's {hotel}|I was thinking of {hotel}|"
        "let's take {hotel}|the hotel is called {hotel}|I'd like to stay at {hotel}"
    ),
    "answer.date": _lines(
        "{date}|on {date}|{date} please|for {date}|{date} would be good|let's say {date}|on {date} please|"
        "I'd like {date}|{date} if possible|it would be {date}|{date}, thanks|make it {date}|"
        "{date} works best|how about {date}|it's for {date}|I was thinking {date}"
    ),
    "answer.time": _lines(
        "{time}|at {time}|{time} please|at {time} please|{time} would be good|let's say {time}|"
        "around {time}|{time} if possible|I'd like {time}|make it {time}|{time} works|about {time}|"
        "how about {time}|we'd like to come at {time}|it should be at {time}|at {time}, thanks|for {time}"
    ),
    "answer.people": _lines(
        "{people}|for {people}|{people} people|{people} of us|we are {people}|there will be {people} of us|"
        "{people} please|for {people} people|{people} persons|a party of {people}|we'll be {people}|"
        "it's {people} people|{people} people please|that's {people}|there are {people} of us|"
        "make it {people}"
    ),
    "answer.one": _lines("one|just one|just me, one person|one person|for one|only one"),
    "answer.nights": _lines(
        "{nights}|{nights} nights|for {nights} nights|{nights} nights please|I'm staying {nights} nights|"
        "we'll stay {nights} nights|{nights} please|it's {nights} nights"
    ),
    "answer.night": _lines("one|one night|just one night|for one night|only one|one night please"),
    "answer.name": _lines(
        "{name}|it's {name}|my name is {name}|{name} please|the name is {name}|for {name}|it's for {name}|"
        "put it under {name}|I'm {name}|under {name}|that's {name}|this is {name}"
    ),
    "answer.service": _lines(
        "{service}|it's {service}|I need {service}|{service} please|for {service}|{service}, please"
    ),
    "answer.pickup": _lines(
        "{pickup}|from {pickup}|at {pickup}|{pickup} please|I'm at {pickup}|pick me up at {pickup}|"
        "I'll be at {pickup}|we're at {pickup}|it's {pickup}|the pickup is {pickup}|from {pickup} please|"
        "I'm leaving from {pickup}"
    ),
    "answer.destination": _lines(
        "{destination}|to {destination}|{destination} please|I'm going to {destination}|"
        "we're going to {destination}|to {destination} please|I need to get to {destination}|"
        "it's {destination}|I have to be at {destination}|take me to {destination}|"
        "I want to go to {destination}"
    ),
    "answer.order": _lines(
        "{order}|it's {order}|the number is {order}|order {order}|it's number {order}|that's {order}|"
        "{order} I think|my order number is {order}|sure, {order}|yes, it's {order}|"
        "the order number is {order}|let me see, {order}"
    ),
    "answer.reference": _lines(
        "{reference}|it's {reference}|the reference is {reference}|reference {reference}|"
        "it's number {reference}|that's {reference}|sure, {reference}|yes, it's {reference}|"
        "the number is {reference}|let me see, {reference}"
    ),
    "answer.search": _lines(
        "I don't know one, but {np}|no special one, {np}|{np}|maybe {np}|{np} please|I'd like {np}|"
        "something like {np}|{np} would be nice|I'm looking for {np}|what about {np}"
    ),
    "answer.free_times": _lines(
        "what times do you have|when is something free|what's available|what have you got|"
        "any time, what's free|I'm flexible, what do you have"
    ),
    "yes": _lines(
        "yes|yes please|yeah|that's right|correct|yes that's right|yep|exactly|right|yes, that's correct|"
        "sure|that's correct|yes, go ahead|perfect|sounds good|yes, please do|okay|yeah, that's it|"
        "great, yes|that's it|yes, thank you|uh huh|mm hmm, yes|absolutely|please go ahead|yes exactly|"
        "that is right|fine, yes|all correct|yes, book it|that sounds right|you got it|of course|yup|"
        "go ahead|very good, yes|it is|yes, perfect|that's fine"
    ),
    "yes.slip": _lines("yes|yes please|that's right|yeah|correct|yes, that is right|exactly"),
    "no": _lines(
        "no|no, that's wrong|no, that's not right|not quite|no, sorry|nope|that's not correct|no, it isn't"
    ),
    "correct.lead": _lines(
        "no,|no, sorry,|no, I said|sorry,|not quite,|no no,|no, it's|that's wrong,|no, not that,|"
        "no, I meant|almost,|wait, no,|no, please make it|hmm, no,|no, that should be|"
        "that's not right, it's|I said"
    ),
    "correct.date": _lines("{date}|on {date}|{date}, please|it's {date}|the day is {date}|for {date}"),
    "correct.time": _lines("{time}|at {time}|the time is {time}|{time}, please|it's at {time}"),
    "correct.people": _lines(
        "{people} people|for {people}|we are {people}|for {people} people|{people} persons"
    ),
    "correct.nights": _lines(
        "{nights} nights|for {nights} nights|it's {nights} nights|{nights} nights, please"
    ),
    "correct.name": _lines("{name}|the name is {name}|my name is {name}|it's {name}"),
    "correct.restaurant": _lines(
        "{restaurant}|at {restaurant}|the restaurant is {restaurant}|it's {restaurant}"
    ),
    "correct.hotel": _lines("{hotel}|at {hotel}|the hotel is {hotel}|it's {hotel}"),
    "correct.service": _lines("{service}|I need {service}|it's for {service}|{service}, please"),
    "correct.pickup": _lines("from {pickup}|the pickup is {pickup}|I'm at {pickup}|pick me up at {pickup}"),
    "correct.destination": _lines(
        "to {destination}|I'm going to {destination}|the destination is {destination}|"
        "to {destination}, please"
    ),
    "correct.order": _lines("{order}|the number is {order}|order {order}|it's {order}"),
    "correct.reference": _lines(
        "{reference}|the reference is {reference}|it's {reference}|number {reference}"
    ),
    "mind": _lines(
        "actually, make that {value}|sorry, I changed my mind, {value}|oh wait, make it {value}|"
        "actually {value}|hmm, can we make it {value}|no, let's do {value} instead|"
        "sorry, can we change that to {value}|on second thought, {value}|wait, {value} is better|"
        "actually, could we say {value}|oh, sorry, {value} instead|I just noticed, it has to be {value}|"
        "let's make that {value}|hold on, I'd rather have {value}"
    ),
    "pick.name": _lines(
        "{pick}|{pick} please|I'll take {pick}|let's go with {pick}|{pick} sounds good|{pick} then|"
        "I'd like {pick}|I think {pick}|make it {pick}|okay, {pick}|{pick} would be nice|I'd go for {pick}|"
        "then {pick}"
    ),
    "pick.first": _lines(
        "the first one|the first one please|I'll take the first|the first|let's take the first one|"
        "number one|the first one sounds good"
    ),
    "pick.second": _lines(
        "the second one|the second one please|I'll take the second|the second|the last one|"
        "let's go with the second one|number two"
    ),
    "pick.time": _lines(
        "{pick}|{pick} please|I'll take {pick}|at {pick}|{pick} then|let's do {pick}|{pick} works|"
        "{pick} is fine|then {pick}|okay, {pick}|{pick} would be good|make it {pick}|{pick} is great"
    ),
    "pick.only": _lines(
        "yes|yes please|okay|that's fine|sounds good|sure|yes, that one|let's take that|yes, I'll take it|"
        "good|that works|okay, that one"
    ),
    "done": _lines(
        "no, that's all|no thanks|no, thank you|that's everything, thanks|no, that's it|"
        "nothing else, thank you|that's all|no, that was all, thank you|nope, that's it|I'm good, thanks|"
        "no, I'm fine, thank you|that's it, thanks|no, we're done, thank you|no, that will be all|"
        "all good, thank you|no, that's great, thanks|that would be all, thanks a lot|nothing more, thanks|"
        "no, bye|that's it, goodbye|no thanks, bye|no, that's all, thank you very much|"
        "that's all I needed, thank you|nope, thanks, bye"
    ),
    "thanks": _lines(
        "great, thank you|thank you|thanks|okay, thanks|perfect, thanks|wonderful, thank you|"
        "good, thanks a lot"
    ),
    "give_up": _lines(
        "never mind, bye|forget it, goodbye|okay, never mind, goodbye|this isn't working, bye|"
        "I'll try again later, bye|let's leave it, goodbye"
    ),
    "sorry": _lines(
        "I said|sorry, I said|once more,|again,|like I said,|I told you,|let me say it again,|okay,|"
        "listen,|sorry,|well,"
    ),
    "um": _lines("um,|uh,|let me see,|hmm,|well,|let me think,|uh, let's see,|okay,|so,|er,|right,"),
    "fix": _lines(
        "{wrong}, no, {right}|{wrong}, sorry, {right}|{wrong}, uh no, {right}|{wrong}, I mean {right}|"
        "{wrong}, wait, {right}"
    ),
    "repeat": _lines(
        "could you repeat that|sorry, what was that|can you say that again|pardon|what did you say|"
        "I didn't hear you|sorry, I didn't get that|say again please|come again|"
        "could you say that once more"
    ),
    "present": _lines(
        "hello|are you there|hello, are you still there|can you hear me|hello, can you hear me|"
        "you still there"
    ),
    "small_talk": _lines(
        "how are you|how are you today|how's it going|how are you doing|nice to hear you, how are you|"
        "how is your day|hope you're well, how are you"
    ),
    "out_of_scope": _lines(
        "what's the weather like|tell me a joke|what's the capital of France|who won the game last night|"
        "can you play some music|what time is it in Tokyo|can you sing a song|how tall is the Eiffel tower|"
        "will it rain tomorrow|can you order me a pizza to my home|what's the meaning of life|"
        "do you like dogs|who is the president|can you do my taxes|what's two plus two|how old are you|"
        "are you a robot|can you call my mother|set an alarm for six|turn on the lights|"
        "what's the stock market doing|can you book me a flight|is there a train to Boston|"
        "what's on television tonight"
    ),
    "garbled": _lines(
        "uh|um|you|the|so the|I|it's|er, the|and|to the|mm|oh|a a|hm|the the|is|but uh|for the|I uh|on"
    ),
    "wrong_result": _lines(
        "no, that's wrong, please cancel that|no, that's not what I wanted, cancel it please|"
        "wait, that's wrong, can you cancel that|oh no, that's not right, please cancel it|"
        "that's not correct, cancel that booking please"
    ),
}
