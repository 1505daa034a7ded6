"""Wordings of the oracle agent: a few short ones for every act, all to be spoken."""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().split("|"))


SAY: dict[str, tuple[str, ...]] = {
    "welcome": _lines(
        "Harbor City concierge, how can I help?|Hello, this is the Harbor City concierge. How can I help?|"
        "Harbor City concierge, what can I do for you?|Hello, Harbor City concierge. How can I help you?|"
        "Good day, Harbor City concierge. What can I do for you?|"
        "Hi, this is the Harbor City concierge. How can I help you today?"
    ),
    "ack": _lines("Sure.|Of course.|Okay.|Certainly.|All right."),
    "changed": _lines("Okay.|All right.|Sorry about that.|Got it."),
    "ask.kind": _lines("How can I help you?|What can I do for you?|What would you like to do?"),
    "ask.restaurant": _lines(
        "Which restaurant would you like, or what kind of food?|"
        "Do you have a restaurant in mind, or a kind of food?|Which restaurant, or what kind of place?"
    ),
    "ask.hotel": _lines(
        "Which hotel would you like, or which part of town?|Do you have a hotel in mind, or an area?|"
        "Which hotel, or what kind?"
    ),
    "ask.search": _lines(
        "What else could I look for?|Another area or price, maybe?|Shall I look for something else?"
    ),
    "ask.date": _lines("Which day would you like?|For what day?|What day should it be?|Which day?"),
    "ask.date.hotel": _lines("What day do you arrive?|From which day?|On which day do you arrive?"),
    "ask.date.change_delivery": _lines(
        "Which day should it come?|What is the new delivery day?|Which day would suit you?"
    ),
    "ask.time": _lines("What time would you like?|At what time?|What time should it be?|For what time?"),
    "ask.people": _lines("For how many people?|How many people?|How many people will there be?"),
    "ask.nights": _lines("How many nights?|For how many nights?|How many nights will you stay?"),
    "ask.service": _lines(
        "What kind of appointment: dentist, doctor, haircut, massage or vet?|Which service do you need?|"
        "What is the appointment for?"
    ),
    "ask.name": _lines(
        "What name is it for?|May I have your name?|Under what name?|What's your name, please?"
    ),
    "ask.pickup": _lines(
        "Where should it pick you up?|Where are you leaving from?|What is the pickup place?"
    ),
    "ask.destination": _lines("Where are you going?|Where to?|What is the destination?"),
    "ask.order": _lines(
        "What is the order number?|Can you give me the order number?|What's your order number?"
    ),
    "ask.reference": _lines(
        "What is the booking reference?|Can you give me the reference number?|"
        "What's the reference of the booking?"
    ),
    "ask.change": _lines(
        "What should I change?|Sorry, what should be different?|What would you like to change?"
    ),
    "read.restaurant": _lines(
        "So that's a table for {people} at {restaurant}, {date} at {time}. Is that right?|"
        "A table for {people} at {restaurant}, {date} at {time}. Is that correct?|"
        "{restaurant}, {date} at {time}, for {people}. Is that right?|"
        "Let me check. A table for {people} at {restaurant}, {date} at {time}. Right?"
    ),
    "read.hotel": _lines(
        "So that's {hotel} from {date}, {nights}, for {people}. Is that right?|"
        "{hotel}, {nights} from {date}, for {people}. Is that correct?|"
        "A room at {hotel} from {date}, {nights}, for {people}. Is that right?|"
        "Let me check. {hotel} from {date}, {nights}, for {people}. Right?"
    ),
    "read.appointment": _lines(
        "So that's a {service} appointment, {date} at {time}, for {name}. Is that right?|"
        "A {service} appointment, {date} at {time}, for {name}. Is that correct?|"
        "A {service} appointment for {name}, {date} at {time}. Is that right?|"
        "Let me check. A {service} appointment, {date} at {time}, for {name}. Right?"
    ),
    "read.taxi": _lines(
        "So that's a taxi from {pickup} to {destination}, {date} at {time}. Is that right?|"
        "A taxi from {pickup} to {destination}, {date} at {time}. Is that correct?|"
        "From {pickup} to {destination}, {date} at {time}. Is that right?|"
        "Let me check. A taxi from {pickup} to {destination}, {date} at {time}. Right?"
    ),
    "read.change_delivery": _lines(
        "So I move order {order} to {date}. Is that right?|"
        "Order {order} should come {date}. Is that correct?|"
        "New delivery day for order {order}: {date}. Is that right?"
    ),
    "read.cancel_order": _lines(
        "So I cancel order {order}. Is that right?|You want to cancel order {order}. Is that correct?|"
        "Cancel order {order}. Is that right?"
    ),
    "read.cancel_booking": _lines(
        "So I cancel booking {reference}. Is that right?|"
        "You want to cancel booking {reference}. Is that correct?|"
        "Cancel booking {reference}. Is that right?"
    ),
    "offer.two": _lines(
        "I have {a} and {b}. Which would you like?|There is {a} and there is {b}. Which one?|"
        "I found {a} and {b}. Which one would you like?"
    ),
    "offer.one": _lines(
        "I have {a}. Would you like that one?|There is {a}. Would you like that one?|"
        "I found {a}. Would you like that one?"
    ),
    "offer.none": _lines(
        "Sorry, I found nothing like that. Shall I look for something else?|"
        "Sorry, there is nothing like that. What else could I look for?"
    ),
    "offer.times": _lines(
        "On {date} I have {options}. Which time would you like?|{options} is free on {date}. Which time?|"
        "For {date} I have {options}. Which one would you like?"
    ),
    "tell.places": _lines("I have {a} and {b}.|There is {a} and there is {b}.|I found {a} and {b}."),
    "tell.place": _lines("There is {a}.|I have {a}.|I found {a}."),
    "tell.times": _lines(
        "On {date} there is {options}.|{options} is free on {date}.|For {date} I have {options}."
    ),
    "done.restaurant": _lines(
        "Your table at {booked} is booked for {date} at {time}, for {people}. The reference is {reference}.|"
        "Booked: {booked}, {date} at {time}, for {people}. Your reference is {reference}.|"
        "All set. {booked}, {date} at {time}, for {people}. The reference is {reference}."
    ),
    "done.hotel": _lines(
        "Your room at {booked} is booked from {date}, {nights}, for {people}. The reference is {reference}.|"
        "Booked: {booked} from {date}, {nights}, for {people}. Your reference is {reference}.|"
        "All set. {booked} from {date}, {nights}, for {people}. The reference is {reference}."
    ),
    "done.appointment": _lines(
        "Your {booked} appointment is booked for {date} at {time}, for {name}. The reference is {reference}.|"
        "Booked: a {booked} appointment, {date} at {time}, for {name}. Your reference is {reference}.|"
        "All set. A {booked} appointment for {name}, {date} at {time}. The reference is {reference}."
    ),
    "done.taxi": _lines(
        "Your taxi from {pickup} to {destination} is booked for {date} at {time}. "
        "The reference is {reference}.|"
        "Booked: a taxi from {pickup} to {destination}, {date} at {time}. Your reference is {reference}.|"
        "All set. A taxi from {pickup} to {destination}, {date} at {time}. The reference is {reference}."
    ),
    "done.order_status.processing": _lines(
        "Order {order}, {item}, is still processing. It should come {delivery}.|"
        "{item}, order {order}, is processing. It should arrive {delivery}."
    ),
    "done.order_status.shipped": _lines(
        "Order {order}, {item}, is shipped. It should come {delivery}.|"
        "{item}, order {order}, is shipped. It should arrive {delivery}."
    ),
    "done.order_status.delivered": _lines(
        "Order {order}, {item}, was delivered on {delivery}.|"
        "{item}, order {order}, was delivered on {delivery}."
    ),
    "done.order_status.cancelled": _lines(
        "Order {order}, {item}, is cancelled.|{item}, order {order}, was cancelled."
    ),
    "done.change_delivery": _lines(
        "Done. Order {order}, {item}, now comes {delivery}.|Okay, {item} now comes {delivery}.|"
        "Done. Your {item} will come {delivery}."
    ),
    "done.cancel_order": _lines(
        "Done. Order {order}, {item}, is cancelled.|Okay, order {order} for the {item} is cancelled.|"
        "Your order {order}, {item}, is cancelled."
    ),
    "done.cancel_booking": _lines(
        "Done. Your {cancelled} is cancelled.|Okay, the {cancelled} is cancelled.|"
        "Your {cancelled}, reference {reference}, is cancelled."
    ),
    "more": _lines(
        "Anything else?|Is there anything else?|Can I help with anything else?|Anything else I can do?"
    ),
    "failed": _lines("Sorry. {reason}|I'm sorry. {reason}|I'm afraid not. {reason}"),
    "failed.options": _lines(
        "I have {options}. Which would you like?|I could do {options}. Which one?|"
        "Free is {options}. Which would you like?"
    ),
    "failed.option": _lines(
        "I have {options}. Would you like that one?|I could do {options}. Would that be okay?"
    ),
    "failed.day": _lines("Would that day be okay?|Shall we take that day?"),
    "scope": _lines(
        "Sorry, I can only help with restaurants, hotels, appointments, taxis and orders.|"
        "I can't help with that. I do tables, hotels, appointments, taxis and orders.|"
        "That's not something I can do. I book tables, rooms, appointments and taxis."
    ),
    "lost": _lines("Sorry, I didn't catch that.|Sorry, I didn't get that.|Sorry, could you say that again?"),
    "fine": _lines("I'm fine, thank you.|Very well, thanks.|I'm good, thanks for asking."),
    "here": _lines("Yes, I'm here.|I'm here.|Yes, I can hear you."),
    "bye": _lines(
        "Thanks for calling. Goodbye!|Thank you for calling. Goodbye!|You're welcome. Goodbye!|"
        "Have a good day. Goodbye!"
    ),
    "transfer": _lines(
        "One moment, I'll put you through.|Sure, I'll connect you. One moment.|"
        "One moment please, I'll transfer you."
    ),
}
"""Act -> templates; values of a read-back are the caller's words, those of a result the tool's."""
