"""What callers say in an emergency, and what sounds like it and is none."""

from pathlib import Path

import pytest
import yaml
from livekit.agents import llm

from agent.emergency import is_one
from agent.voice import is_emergency

EMERGENCIES = """
My husband isn't breathing.
He stopped breathing, please help me!
I can't breathe.
She has trouble breathing and her lips are blue.
I think I'm having a heart attack.
My father is having a stroke.
I have terrible chest pain.
He has a strong pain in his chest.
My chest hurts and my arm is numb.
Somebody collapsed in the lobby.
My wife is unconscious.
She passed out and she won't wake up.
He's not responding.
She's bleeding badly.
The bleeding won't stop.
There's so much blood.
My son is choking on something.
I took too many pills.
My roommate overdosed.
My daughter drank bleach.
I want to kill myself.
I don't want to live anymore.
I'm going to end my life.
He says he wants to die.
There's a fire.
There's a fire in the kitchen!
My house is on fire.
The building is burning, what do I do?
Fire, fire!
I smell gas in the apartment.
There's an intruder in my house.
Someone is in my house.
Someone is trying to break in.
A man with a knife is standing here.
He has a gun.
I've been stabbed.
My boyfriend is hitting me.
He's trying to kill me.
Call an ambulance!
Please send an ambulance to the hotel.
I need an ambulance right now.
Can you call the police, please?
Call 911.
This is an emergency.
It's a medical emergency.
Emergency!
There's been an accident, people are hurt.
Is there somebody? There's a fire on the second floor.
Uh, please, my wife, she just collapsed.
Send the fire department, the roof is on fire.
I cannot stop the bleeding.
I don't know if he's having a heart attack, his arm is numb.
What do I do? My mother isn't breathing.
My friend is having a seizure.
The baby is coming.
She was hit by a car in front of your door.
Hello, I'm at the front door and somebody has been shot.
"""

NONE = """
Where is the emergency exit?
In case of emergency, what number do I call?
Is there an emergency contact on my file?
What if I have an emergency after you've closed for the night?
How much is an emergency visit?
I have an emergency, my tooth broke, when can you see me?
It's an emergency. My crown fell out.
Is there an emergency dentist at night?
Do you take emergencies?
This is not an emergency.
It isn't an emergency, I only wanted to ask something.
We are staying in the heart of the city.
I have a heart condition. Is there a doctor in the hotel?
My doctor says I had a heart attack three years ago.
Do you treat patients who had a stroke?
I nearly had a heart attack when I saw the bill.
What a stroke of luck!
Can you fire up the oven?
Is there a fire escape?
There's a fire alarm test on Monday, right?
There is a fireplace in the room, isn't it?
We had a fire drill last week.
Do you have rooms with a fire place?
Your team is on fire today.
Do you offer fire insurance?
Can we make a fire on the beach?
I would kill for a coffee.
I'm dying to see the new menu.
I'm dying of boredom here.
This headache is killing me.
I'm drowning in paperwork.
The police report number is four two seven.
I need the police report for my insurance.
Do I have to call the police if my bike was stolen?
Who do I call if I need an ambulance?
How much does an ambulance cost?
Is the smoke detector in the room connected?
May I smoke on the balcony?
What happens when someone has chest pain during the tour?
I have no chest pain or anything like that.
He can breathe again, thank you.
Does the massage help with breathing?
The kitchen is closed, is it?
Can I shoot photos in the garden?
My daughter wants to jump on the trampoline.
I want to die my hair before the wedding.
We saw a movie in which someone is in my house with a knife.
My phone died, so I'm calling from the hotel.
The battery is dead.
I lost my key and I'm locked out.
I want to cancel the breathing course.
Do you treat panic attacks?
I broke my arm two weeks ago.
I'd like a table by the fire.
We had an accident with our booking.
There has been an accident with my bill.
Do you have fires in the rooms?
Are you on fire or what?
If someone collapsed, would you know what to do?
Have you called the fire brigade training centre?
Is the gas included in the rent?
Call me back at nine one two, four four one.
Please call a taxi for me.
Can you send the bill to my office?
I have a family emergency and need to cancel my booking.
"""


@pytest.mark.parametrize("words", EMERGENCIES.strip().splitlines())
def test_an_emergency_is_recognised(words: str) -> None:
    assert is_one(words)
    assert is_one(words.lower().replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"))


@pytest.mark.parametrize("words", NONE.strip().splitlines())
def test_what_only_sounds_like_an_emergency_is_none(words: str) -> None:
    assert not is_one(words)


def test_no_ordinary_question_is_taken_for_an_emergency() -> None:
    questions = yaml.safe_load((Path(__file__).parents[1] / "data" / "dev_questions.yaml").read_text())
    asked = [one["ask"] for one in questions]
    assert len(asked) > 500
    assert [words for words in asked if is_one(words)] == []


def test_only_words_that_wait_for_an_answer_count() -> None:
    context = llm.ChatContext()
    context.add_message(role="user", content="My husband isn't breathing.")
    assert is_emergency(context)
    context.add_message(role="assistant", content="Hang up and dial 112.")
    assert not is_emergency(context)
    context.add_message(role="user", content="When is breakfast?")
    context.add_message(role="system", content="There is a fire.")
    assert not is_emergency(context)
