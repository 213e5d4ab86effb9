"""Do the caller's words mean that somebody's life is in danger now? English, and rather too careful than too eager.

Who says "heart attack", "fire" or "emergency" mostly asks about something else: what is meant has to be said as
happening, here and now.
"""

import re

_SENTENCE = re.compile(r"[.!?;…]+")
_WRITTEN_OUT = (
    (re.compile(r"[’`]"), "'"),
    (re.compile(r"\bcan't\b|\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'s\b"), " is"),
    (re.compile(r"[^a-z0-9 ]+"), " "),
    (re.compile(r"\b(?:just|really|still|actually|currently|now|also|please|oh|god|uh|um|like)\b"), " "),
    (re.compile(r"\s+"), " "),
)

_WHO = r"(?:i|we|he|she|it|they|someone|somebody|everyone|(?:my|our|the|a|this|another|his|her) \w+(?: \w+)?)"
_BE = r"(?:am|is|are|has|have|was|been|has been|have been)"
_HERE = (
    r"(?:house|home|kitchen|room|bedroom|bathroom|apartment|flat|building|hotel|office|garage|basement|attic|roof|"
    r"hallway|lobby|shop|store|restaurant|car|van|truck|bus|oven|stove|bed|sofa|curtains?|clothes|shirt|hair|forest|"
    r"field|barn|shed|elevator|place|floor|wall|balcony)"
)
_FIRE = (
    r"fire(?! (?:escape|exit|place|pit|alarm|drill|extinguisher|door|stove|sale|station|safety|hazard|inspect|"
    r"sprinkler|regulation|code|marshal|wood|works|wall|certificate|damage|risk|department|detector|plan|on the beach))"
)
_HELP = (
    r"(?:ambulance|paramedics?|medics?|"
    r"police(?! (?:report|check|clearance|certificate|station|record|department|academy|officer exam))|"
    r"fire (?:department|brigade|service|fighters)|911|9 1 1|nine one one|999|112|one one two|emergency services)"
)

_DANGER = tuple(
    re.compile(rf"\b(?:{pattern})\b")
    for pattern in (
        # Breath and heart.
        rf"{_BE} not breathing|do(?:es)? not breathe|stopped breathing|not breathing",
        r"can (?:not|hardly|barely) (?:breathe|breath|get (?:any )?air)|struggling to breathe|gasping for (?:air|breath)",
        r"trouble breathing|difficulty breathing",
        r"(?:am|is|are) choking(?! up)|throat is (?:closing|swelling)|(?:am|is) (?:suffocating|turning blue)",
        r"having (?:a|another) (?:\w+ )?(?:heart attack|cardiac arrest|stroke(?! of)|seizure)",
        r"(?:think|is|be|was) (?:a|another) (?:heart attack|cardiac arrest|stroke(?! of))|in cardiac arrest",
        r"(?:have|has|having|got|feel|feeling|with) (?:\w+ ){0,3}(?:chest pains?|pains? in (?:my|his|her|the) chest)",
        r"chest (?:hurts|is hurting|is tight|feels tight)|heart (?:has )?stopped|no (?:pulse|heartbeat)",
        # Body.
        rf"{_WHO} (?:{_BE} )?(?:unconscious|unresponsive|passed out|collapsed|fainted)|lost consciousness",
        r"(?:will|does|do|is) not (?:wake up|waking up|wake|responding|respond to me|responsive|moving or)",
        r"bleeding (?:very |so |quite )?(?:badly|heavily|a lot|out|to death|everywhere|severely|profusely|and it will)",
        r"(?:not|can not) stop(?:ping)? (?:the )?bleeding|bleeding (?:will|does|is) not stop|losing (?:a lot of|so much) blood",
        r"so much blood|blood (?:is )?everywhere|lots of blood",
        r"(?:took|taken|swallowed|drank) (?:too many|a (?:whole )?bottle of|all (?:of )?(?:my|his|her|the)) (?:\w+ )?pills",
        r"overdosed|overdosing|(?:taken|took|having) an overdose|(?:swallowed|drank|drunk) (?:some |the )?(?:poison|bleach)",
        r"severe allergic reaction|anaphyla\w+|(?:is|am|are) drowning(?! in (?!the|a))|(?:been|got|was) electrocuted",
        r"(?:been|was|got) (?:hit|run over) by (?:a|the) (?:car|truck|bus|train)|(?:is|am|are) dying(?! to| for| of)",
        r"(?:gone|going) into labou?r|(?:the|her|my) baby is coming|water (?:has )?broke(?:n)? and",
        # One's own life.
        r"(?:kill|killing|hurt|hurting|harm|harming) (?:myself|himself|herself|themselves)",
        r"(?:end|ending|take|taking) (?:my|his|her|their) (?:own )?life|end it all|(?:am|is|feel|feeling) suicidal",
        r"want(?:s|ed)? to die(?! of| for| laughing)|do not want to live any ?more|(?:commit|committing|attempt\w*) suicide",
        r"(?:going|about|threatening|wants|want) to jump off|thinking (?:about|of) suicide",
        # Others.
        r"break(?:ing)? (?:in|into (?:my|our|the)) (?:right|house|home|apartment|flat)|is (?:breaking in|trying to break in)",
        rf"(?:an? )?intruders? in|(?:is )?(?:someone|somebody|a (?:man|stranger|burglar)) (?:is )?in (?:my|our) {_HERE}",
        r"(?:has|have|with|holding|pulled|waving) a (?:gun|knife|weapon)|(?:been|was|got|getting) (?:shot|stabbed|raped)",
        r"(?:is|are) (?:shooting|stabbing|attacking|strangling|beating) (?:at |up )?\w+|active shooter|heard gunshots",
        r"(?:trying|going|wants|threatening|threatened) to kill (?:me|us|him|her|them|my|someone|somebody)",
        r"(?:hitting|hurting|beating|attacking|following) me|being (?:robbed|attacked|kidnapped|held hostage)|held at gunpoint",
        # Fire and gas.
        rf"(?:there is|we have|i see|got) (?:a |an )?(?:\w+ )?{_FIRE}|{_FIRE} (?:in|on|at) (?:the|my|our|a) {_HERE}",
        rf"{_HERE} (?:is|are|has) (?:(?:caught )?on fire|in flames|burning down|burning|caught fire|full of smoke)",
        r"something is (?:on fire|burning)|smoke (?:is )?(?:everywhere|coming)|(?:am|are) on fire",
        r"(?:smell|smelling|smells like|leaking) gas|gas leak|carbon monoxide (?:alarm|detector) is|has been an explosion",
        # Asking for help by name.
        rf"(?:call|send|get|need|needs|want|dial|phone) (?:\w+ ){{0,3}}?{_HELP}",
        rf"(?:need|get) (?:help )?(?:the )?{_HELP}|there has been an? (?:\w+ )?accident(?! with)",
        r"help me i am (?:hurt|dying|injured|trapped)",
        # The word itself, as a statement.
        r"(?:this|it|that|there) is an? (?:\w+ )?emergency|(?:i|we) have an? (?:\w+ )?emergency|medical emergency",
    )
)
_ALONE = re.compile(r"(?:hello |help )*(?:an |its an )?emergency(?: emergency)*(?: help)?|fire(?: fire)+(?: help)?")

# Said before it in the sentence, it is no danger now.
_SUPPOSED = re.compile(
    r"\b(?:(?<!know )(?<!sure )(?<!tell )if|in case|in the event|suppose|imagine|whenever|unless|"
    r"when (?:i|we|he|she|there|someone|somebody|a|people)|"
    r"do you|did you|does|do (?:i|we) (?:have|need) to|is it|was it|has there|was there|are there|"
    r"who|which|how (?:do|does|much|many|long|often|far|would)|where (?:is|do|can|are)|"
    r"would|might|never|without|instead of|no longer|not)\b"
)
# Said anywhere in it, it is another time, a story or a trade.
_ELSEWHERE = re.compile(
    r"\b(?:(?:days?|weeks?|months?|years?) ago|last (?:week|month|year|summer|winter|spring|fall|autumn|time|christmas)|"
    r"yesterday|used to|history of|recover\w*|survivors?|rehab\w*|as a child|in (?:19|20)\d\d|"
    r"movies?|films?|songs?|books?|novels?|episodes?|shows?|games?|trainings?|drills?|courses?|class(?:es)?|"
    r"insurance|insured|policy|policies|jok(?:e|ing)|kidding|cover(?:ed|s)?|brochure|podcast|documentary)\b"
)
_TRADE = re.compile(
    r"\b(?:tooth|teeth|toothache|dental|dentists?|crown|filling|denture|gums?|braces|molar|appointments?|bookings?|"
    r"reservations?|rooms?|keys?|lock\w*|plumb\w*|pipes?|leak\w*|toilet|heating|boiler|wi ?fi|internet|flights?|visas?|"
    r"refund|vet|contacts?|exits?|numbers?|hours|lights?|rates?|visit|meetings?|deadline|family|meant|spare)\b"
)
_OF_THE_WORD = len(_DANGER) - 1


def is_one(words: str) -> bool:
    """Whether `words` say that there is an emergency now."""
    return any(_is_danger(_plain(sentence), words) for sentence in _SENTENCE.split(words.lower()))


def _plain(sentence: str) -> str:
    for pattern, replacement in _WRITTEN_OUT:
        sentence = pattern.sub(replacement, sentence)
    return sentence.strip()


def _is_danger(sentence: str, words: str) -> bool:
    if not sentence or _ELSEWHERE.search(sentence):
        return False
    if _ALONE.fullmatch(sentence):
        return True
    for at, pattern in enumerate(_DANGER):
        found = pattern.search(sentence)
        if found is None or _SUPPOSED.search(sentence[: found.start()]):
            continue
        # "I have an emergency. My tooth broke": what kind it is may be said in another sentence.
        if at == _OF_THE_WORD and "medical" not in sentence and _TRADE.search(_plain(words.lower())):
            continue
        return True
    return False
