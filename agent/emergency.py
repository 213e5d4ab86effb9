"""Do the caller's words mean that somebody's life is in danger now? English, and rather too careful than too eager.

Who says "heart attack", "fire" or "emergency" mostly asks about something else: what is meant has to be said as
happening, here and now.
"""

import re

_SENTENCE = re.compile(r"[.!?;…]+")
_WRITTEN_OUT = [
    (re.compile(pattern), words)
    for pattern, words in (
        ("[\N{RIGHT SINGLE QUOTATION MARK}`]", "'"),
        (r"\bcan't\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"'m\b", " am"),
        (r"'re\b", " are"),
        (r"'ve\b", " have"),
        (r"'s\b", " is"),
        (r"[^a-z0-9 ]+", " "),
        (r"\b(just|really|still|actually|currently|now|also|please|oh|god|uh|um|like)\b", " "),
        (r"\b(i do not|not) (know|sure) if\b", " "),
        (r"\s+", " "),
    )
]

# No fire is meant by these.
_NO_FIRE = """
    escape exit place pit alarm drill extinguisher door stove sale station safety hazard inspection sprinkler
    regulation code marshal wood works wall certificate damage risk department detector plan brigade service insurance
"""
_WORDS = {
    "WHO": r"(i|we|he|she|it|they|someone|somebody|everyone|(my|our|the|a|this|another|his|her) \w+( \w+)?)",
    "BE": r"(am|is|are|was|has|have|has been|have been)",
    "FIRE": rf"fire(?! ({'|'.join(_NO_FIRE.split())})|s)",
    "HERE": """(house|home|kitchen|room|bedroom|bathroom|apartment|flat|building|hotel|office|garage|basement|attic|
        roof|hallway|lobby|shop|store|restaurant|car|van|truck|bus|oven|stove|bed|sofa|curtains?|clothes|shirt|hair|forest|
        field|barn|shed|elevator|place|floor|wall|balcony)""",
    "HELP": """(ambulance|paramedics?|medics?|fire (department|brigade|service|fighters)|emergency services|911|9 1 1|
        nine one one|999|112|one one two|
        police(?! (report|check|clearance|certificate|station|record|department|academy|officer)))""",
}
# One to a line.
_DANGER = """
    not breathing|stopped breathing|do(es)? not breathe|trouble breathing|difficulty breathing|struggling to breathe
    can (not|hardly|barely) (breathe|breath|get (any )?air)|gasping for (air|breath)
    (am|is) (suffocating|turning blue)
    (am|is|are) choking(?! up)|throat is (closing|swelling)
    having (a|another) (\\w+ )?(heart attack|cardiac arrest|stroke(?! of)|seizure)|in cardiac arrest
    (think|is|be|was) (a|another) (heart attack|cardiac arrest|stroke(?! of))
    (have|has|having|got|feel|feeling|with) ((?!no )\\w+ ){0,3}(chest pains?|pains? in (my|his|her|the) chest)
    chest (hurts|is hurting|is tight|feels tight)|heart (has )?stopped|no (pulse|heartbeat)
    WHO (BE )?(unconscious|unresponsive|passed out|collapsed|fainted)|lost consciousness
    (will|does|do|is) not (wake up|waking up|responding|responsive|respond to me)
    bleeding (very |so |quite )?(badly|heavily|a lot|out|to death|everywhere|severely|profusely)
    bleeding (will|does|is) not stop|not stop(ping)? (the )?bleeding|losing (a lot of|so much) blood
    so much blood|blood (is )?everywhere|lots of blood
    (took|taken|swallowed|drank) (too many|a (whole )?bottle of|all (of )?(my|his|her|the)) (\\w+ )?pills
    overdosed|overdosing|(taken|took|having) an overdose|(swallowed|drank|drunk) (some |the )?(poison|bleach)
    severe allergic reaction|anaphyla\\w+|(is|am|are) drowning(?! in (?!the|a))|(been|got|was) electrocuted
    (been|was|got) (hit|run over) by (a|the) (car|truck|bus|train)|(is|am|are) dying(?! to| for| of)
    (gone|going) into labou?r|(the|her|my) baby is coming|help me i am (hurt|dying|injured|trapped)
    (kill|killing|hurt|hurting|harm|harming) (myself|himself|herself|themselves)
    (end|ending|take|taking) (my|his|her|their) (own )?life|end it all|(am|is|feel|feeling) suicidal
    want(s|ed)? to die(?! (of|for|laughing|my|it))|do not want to live any ?more
    (commit|committing|attempt\\w*|thinking about|thinking of) suicide
    (going|about|threatening|wants|want) to jump off
    is (breaking|trying to break) in|break(ing)? into (my|our|the) HERE|intruders? in
    (someone|somebody|a (man|stranger|burglar)) (is )?in (my|our) HERE
    (has|have|with|holding|pulled|waving) a (gun|knife|weapon)|(been|was|got|getting) (shot|stabbed|raped)
    (is|are) (shooting|stabbing|attacking|strangling|beating) (at |up )?\\w+|active shooter|heard gunshots
    (trying|going|wants|threatening|threatened) to kill (me|us|him|her|them|my|someone|somebody)
    (hitting|hurting|beating|attacking|following) me|being (robbed|attacked|kidnapped|held hostage)|held at gunpoint
    (there is|we have|i see|got) (a |an )?(\\w+ )?FIRE(?! on the beach)|FIRE (in|on|at) (the|my|our|a) HERE
    HERE (is|are|has) ((caught )?on fire|in flames|burning down|burning|caught fire|full of smoke)
    something is (on fire|burning)|smoke (is )?(everywhere|coming)|(i|we) (am|are) on fire
    (smell|smelling|smells|leaking) gas|gas leak|carbon monoxide (alarm|detector) is|has been an explosion
    (call|send|get|need|needs|want|dial|phone) (\\w+ ){0,3}?HELP|(is|has) been an? (\\w+ )?accident(?! with)
    medical emergency
"""
# The word alone is also that of a trade.
_CALLED_SO = r"(this|it|that|there) is an? (\w+ )?emergency|(i|we) have an? (\w+ )?emergency"
_ALONE = re.compile(r"((hello|help|an) )*emergency( emergency| help)*|((hello|help) )*fire( fire| help)+")
_TRADE = re.compile(
    r"""\b(tooth|teeth|toothache|dental|dentists?|crown|filling|denture|gums?|braces|molar|appointments?|bookings?|
    reservations?|rooms?|keys?|lock\w*|plumb\w*|pipes?|leak\w*|toilet|heating|boiler|wi\ ?fi|internet|flights?|visas?|
    refund|vet|contacts?|exits?|numbers?|hours|lights?|rates?|visit|meetings?|deadline|family|meant|spare)\b""",
    re.VERBOSE,
)
# Said before it in the sentence, it is no danger now.
_SUPPOSED = re.compile(
    r"""\b(if|in\ case|in\ the\ event|suppose|imagine|whenever|unless|
    when\ (i|we|he|she|there|someone|somebody|a|people)|would|might|never|without|instead\ of|no\ longer|not|
    do\ you|did\ you|does|do\ (i|we)\ (have|need)\ to|is\ it|was\ it|has\ there|was\ there|are\ there|
    who|which|how\ (do|does|much|many|long|often|far|would)|where\ (is|do|can|are))\b""",
    re.VERBOSE,
)
# Said anywhere in the sentence, it is another time or a story.
_ELSEWHERE = re.compile(
    r"""\b((days?|weeks?|months?|years?)\ ago|last\ (week|month|year|summer|winter|spring|fall|autumn|time|christmas)|
    yesterday|used\ to|history\ of|recover\w*|survivors?|rehab\w*|as\ a\ child|in\ (19|20)\d\d|
    movies?|films?|songs?|books?|novels?|episodes?|shows?|games?|trainings?|drills?|courses?|class(es)?|
    insurance|insured|policy|policies|jok(e|ing)|kidding|covers?|covered|brochure|podcast|documentary)\b""",
    re.VERBOSE,
)


def _compiled(pattern: str) -> re.Pattern[str]:
    for name, words in _WORDS.items():
        pattern = pattern.replace(name, re.sub(r"\s*\n\s*", "", words))
    return re.compile(rf"\b({pattern})\b")


_DANGERS = [_compiled(line.strip()) for line in _DANGER.strip().splitlines()]
_NAMED = _compiled(_CALLED_SO)


def is_one(words: str) -> bool:
    """Whether `words` say that there is an emergency now."""
    trade = _TRADE.search(_plain(words)) is not None
    return any(_is_danger(_plain(sentence), trade=trade) for sentence in _SENTENCE.split(words))


def _plain(sentence: str) -> str:
    sentence = sentence.lower()
    for pattern, words in _WRITTEN_OUT:
        sentence = pattern.sub(words, sentence)
    return sentence.strip()


def _is_danger(sentence: str, *, trade: bool) -> bool:
    if _ELSEWHERE.search(sentence):
        return False
    if _ALONE.fullmatch(sentence) or (not trade and _is_said(_NAMED, sentence)):
        return True
    return any(_is_said(danger, sentence) for danger in _DANGERS)


def _is_said(danger: re.Pattern[str], sentence: str) -> bool:
    """Whether it is said as something that happens."""
    found = danger.search(sentence)
    return found is not None and _SUPPOSED.search(sentence[: found.start()]) is None
