"""Wordings of callers' requests, and of the pieces that name a slot in them.

Group names are `request.KIND`, `search.KIND`, `piece.SLOT`; the values stand in braces.
"""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().split("|"))


TEMPLATES: dict[str, tuple[str, ...]] = {
    "open": _lines(
        "hi|hello|hi there|hey|good morning|good afternoon|good evening|yes hello|yeah hi|hello there|"
        "okay so|well|yes|hi yes|uh hi|um hello|oh hi|right so|hey there|hi good morning|yeah|so|"
        "hello good evening|uh yes"
    ),
    "also": _lines(
        "yes|yes please|yeah|actually yes|yes one more thing|oh and|and|also|one more thing|yes actually|"
        "yeah one more thing|there's one more thing|yes there is|mm yes|and then|next|sure"
    ),
    "also.full": _lines(
        "{request} as well|{request} too|I also need help, {request}|{request} also|{request}"
    ),
    "tail": _lines("please|thanks|thank you|if possible|if you can|if that's okay|would that work"),
    "request.restaurant": _lines(
        "I'd like to book a table|I need a table|can I book a table|I want to reserve a table|"
        "could you book me a table|can I get a table|I'd like to make a reservation|I want to book a table|"
        "can you reserve a table|I would like a table|could I reserve a table|book a table|"
        "I'm calling to book a table|I'd like to make a dinner reservation|"
        "we'd like to eat out, we need a table|I wanted to book a table|"
        "do you think you could get me a table|please reserve a table|is it possible to book a table|"
        "I need a reservation|can you get us a table|we need a table|I was hoping to book a table|"
        "I'd love to get a table|help me book a table|I need a dinner reservation|"
        "I'm trying to get a table|could we have a table|can you make a reservation|a table"
    ),
    "request.hotel": _lines(
        "I'd like to book a hotel room|I need a hotel room|can I book a room|I want to reserve a room|"
        "could you book me a room|I need a place to stay, a room|I'd like a room|can you get me a room|"
        "I'm looking to book a room|I want to book a stay|I would like to stay|I need somewhere to stay|"
        "book a room|we need a room|could you reserve a hotel room|I need to book a hotel|"
        "I'd like to reserve a hotel room|can I get a room|please book a hotel room|"
        "I'm calling to book a room|we'd like to stay|I have to book a hotel|is it possible to book a room|"
        "help me book a hotel|I was hoping to get a room"
    ),
    "request.appointment": _lines(
        "I need {service}|I'd like {service}|can I book {service}|I want to book {service}|"
        "could you book me {service}|I'd like to book {service}|can I get {service}|"
        "I need to book {service}|I'm calling to book {service}|could I have {service}|"
        "I want to schedule {service}|book {service}|can you schedule {service}|"
        "I would like to arrange {service}|please get me {service}|I have to book {service}|"
        "is it possible to get {service}|I was hoping to get {service}|help me find {service}|"
        "could you arrange {service}|I should really get {service}"
    ),
    "request.appointment.bare": _lines(
        "I'd like to make an appointment|I need an appointment|can I book an appointment|"
        "I want to schedule an appointment|could I get an appointment|I'm calling about an appointment|"
        "I'd like to book an appointment|can you make an appointment for me"
    ),
    "service.dentist": _lines(
        "a dentist appointment|an appointment with the dentist|an appointment at the dentist|"
        "a dentist visit|a dental appointment|a dentist|a dental checkup|a check up with the dentist"
    ),
    "service.doctor": _lines(
        "a doctor's appointment|an appointment with the doctor|a doctor appointment|a doctor's visit|"
        "an appointment at the doctor|a doctor|a checkup with the doctor|an appointment with a doctor"
    ),
    "service.haircut": _lines(
        "a haircut|a haircut appointment|an appointment for a haircut|an appointment at the hairdresser|"
        "a hair appointment|an appointment to get my hair cut|a hairdresser appointment"
    ),
    "service.massage": _lines(
        "a massage|a massage appointment|an appointment for a massage|a back massage|"
        "an appointment for a back massage"
    ),
    "service.vet": _lines(
        "a vet appointment|an appointment with the vet|a vet appointment for my dog|"
        "an appointment at the vet|a vet visit|a vet|an appointment with the vet for my cat|"
        "a vet visit for my dog"
    ),
    "request.taxi": _lines(
        "I need a taxi|I'd like a taxi|can I book a taxi|I want to order a taxi|could you get me a cab|"
        "can you book me a taxi|I need a cab|I'd like to book a taxi|could you call a taxi|I need a ride|"
        "order me a taxi|book a taxi|can I get a taxi|I want a cab|could I have a taxi|please send a taxi|"
        "I'm calling for a taxi|I'd like to order a cab|we need a taxi|is it possible to get a taxi|"
        "could you arrange a taxi|I have to catch a taxi|get me a taxi|can you send a car|I'd need a taxi"
    ),
    "request.order_status": _lines(
        "where is my order|I want to check on my order|can you tell me the status of my order|"
        "what's happening with my order|I'd like to know where my order is|could you check my order|"
        "I'm calling about my order, where is it|when will my order arrive|has my order been shipped|"
        "I'm still waiting for my order|can you look up my order|I want to know when my order comes|"
        "what is the status of my order|any news on my order|I'd like to track my order|"
        "is my order on its way|I haven't got my order yet, where is it"
    ),
    "request.change_delivery": _lines(
        "I need to change the delivery date of my order|can you move my delivery|"
        "I'd like to change my delivery|I want my order on another day|"
        "could you deliver my order on a different day|I need to move my delivery|"
        "can I reschedule my delivery|I won't be home, I have to move my delivery|"
        "can I change the delivery day|I'd like to reschedule a delivery|could we change the delivery date|"
        "please move my delivery|my delivery date doesn't suit me, I'd like to change it|"
        "I want to change when my order comes|can you change the delivery date|"
        "I'd like to have my order delivered on another day"
    ),
    "request.cancel_order": _lines(
        "I want to cancel my order|can you cancel my order|I'd like to cancel an order|"
        "please cancel my order|I need to cancel an order|could you cancel an order for me|"
        "I'd like my order cancelled|I don't want my order any more, please cancel it|"
        "I have to cancel my order|can I cancel my order|"
        "I ordered the wrong thing, I want to cancel the order|how do I cancel an order|cancel my order|"
        "I changed my mind about an order, I'd like to cancel it"
    ),
    "request.cancel_booking": _lines(
        "I need to cancel a booking|I want to cancel my booking|can you cancel my reservation|"
        "I'd like to cancel a reservation|please cancel my booking|could you cancel a booking|"
        "I have to cancel my reservation|I can't make it, I need to cancel my booking|cancel my booking|"
        "I'd like to cancel my booking|can I cancel a reservation|"
        "something came up, I have to cancel a booking|I need a booking cancelled|"
        "we can't come, please cancel our reservation|I made a booking, I want to cancel it"
    ),
    "request.ask_restaurants": _lines(
        "can you tell me about {np}|is there {np}|do you have {np}|do you know of {np}|"
        "I just want to know if there's {np}|any idea where I can find {np}|I'm curious, is there {np}|"
        "I only have a question, is there {np}|could you tell me if there is {np}"
    ),
    "request.ask_hotels": _lines(
        "can you tell me about {np}|is there {np}|do you have {np}|do you know of {np}|"
        "I just want to know if there's {np}|I only have a question, is there {np}|"
        "could you tell me if there is {np}|I'm just asking, is there {np}"
    ),
    "request.ask_appointments": _lines(
        "I just want to know when {service} is free|I only want to know what times you have for {service}|"
        "just a question, what times are free for {service}|I'm only asking, when could I get {service}|"
        "I don't want to book yet, what's free for {service}|"
        "could you just tell me the free times for {service}"
    ),
    "request.person": _lines(
        "can I talk to a person|I want to speak to a human|let me talk to a real person|"
        "can you put me through to someone|I'd like to speak to a member of staff|"
        "is there a person I can talk to|I'd rather talk to a human|please connect me to an agent|"
        "could you transfer me to someone|I need to speak to somebody|give me a real person|"
        "can I speak to your manager|transfer me to a person|I want to talk to someone"
    ),
    "search.restaurant": _lines(
        "I'm looking for {np}|can you find me {np}|I'd like to eat at {np}|I want to go to {np}|"
        "find me {np}|could you recommend {np}|I'd like a table at {np}|we want to have dinner at {np}|"
        "do you know {np}|I feel like going to {np}|I need {np}|could you suggest {np}|"
        "I want to book a table at {np}|I'm trying to find {np}|is there {np} where I can get a table|"
        "help me find {np}|we're looking for {np}|I'd love to try {np}|book me a table at {np}|"
        "I'd like to find {np}|can you book {np}"
    ),
    "search.hotel": _lines(
        "I'm looking for {np}|can you find me {np}|I'd like to stay at {np}|I need {np}|find me {np}|"
        "could you recommend {np}|I want to book {np}|I need a room at {np}|do you know {np}|"
        "could you suggest {np}|we're looking for {np}|I'd like a room in {np}|help me find {np}|"
        "I'm trying to find {np}|book me {np}|I want to stay in {np}"
    ),
    "piece.restaurant": _lines(
        "at {restaurant}|in {restaurant}|at {restaurant}|at the restaurant {restaurant}|with {restaurant}"
    ),
    "piece.hotel": _lines("at {hotel}|in {hotel}|at {hotel}|with {hotel}"),
    "piece.date": _lines("{date}|on {date}|for {date}"),
    "piece.time": _lines("at {time}|at {time}|for {time}|around {time}|at about {time}|, {time},"),
    "piece.people": _lines(
        "for {people}|for {people} people|for a party of {people}|for {people} persons|, {people} people,|"
        "for a group of {people}|, there are {people} of us,|, we are {people} people,|, {people} of us,"
    ),
    "piece.one": _lines("just for me|for one person|for one|for myself, one person|, just one person,"),
    "piece.nights": _lines(
        "for {nights} nights|, {nights} nights,|for {nights} nights|, staying {nights} nights,"
    ),
    "piece.night": _lines("for one night|for a single night, one night|, one night,|, just one night,"),
    "piece.name": _lines(
        "for {name}|, the name is {name},|under the name {name}|, my name is {name},|in the name of {name}"
    ),
    "piece.pickup": _lines(
        "from {pickup}|from {pickup}|, picking me up at {pickup},|starting at {pickup}|, pick up at {pickup},"
    ),
    "piece.destination": _lines(
        "to {destination}|to {destination}|, going to {destination},|, I'm going to {destination},"
    ),
    "piece.order": _lines(
        ", order {order},|, number {order},|, it's order number {order},|, order number {order},|"
        ", the number is {order},"
    ),
    "piece.reference": _lines(
        ", reference {reference},|, it's number {reference},|, the reference is {reference},|"
        ", reference number {reference},|, booking {reference},"
    ),
    "piece.new_date": _lines("to {date}|, make it {date},|to {date} instead|, {date} would be better,"),
    "place.restaurant": _lines("restaurant|place|place to eat|restaurant|spot"),
    "place.hotel": _lines("hotel|place to stay|hotel|hotel"),
    "price.cheap": _lines("cheap|inexpensive|cheap|low cost|affordable"),
    "price.moderate": _lines("moderate|moderately priced|mid priced|medium priced|moderate"),
    "price.expensive": _lines("expensive|fancy|upscale|high end|expensive"),
    "area": _lines(
        "in the {area}|in the {area} of town|in the {area} part of town|in the {area} of the city|"
        "on the {area} side"
    ),
    "area.centre": _lines(
        "in the centre|in the city centre|in the centre of town|downtown|in the middle of town"
    ),
}
