"""What a caller's turn is, apart from its subject: yes, no, goodbye, a question, a name, a number."""

import re

_QUOTE = "\N{RIGHT SINGLE QUOTATION MARK}"
_FILLER = re.compile(
    r"\b(?:uh+|um+|erm?|hm+|well|so|okay|ok|oh|ah|please|actually|just|alright|all right|then|and|like)\b|[^\w' ]",
    re.I,
)
_THANKS = r"(?:thanks|thank you|cheers|great|perfect|wonderful|lovely|good|nice|cool|brilliant)"
_MUCH = r"(?: (?:very much|so much|a lot|again|for that|for your help|for the help|for now))?"
_YES = re.compile(
    r"(?:(?:yes|yeah|yep|yup|sure|of course|certainly|absolutely|definitely|correct|right|exactly|please do|go ahead|"
    r"that's (?:right|correct|it|fine|good)|that is (?:right|correct)|it is|you can|you may|do that|do|"
    r"(?:that|it) would be (?:great|good|nice|lovely|kind)|i would|i'd like that|sounds good|"
    rf"why not|{_THANKS}|take a message)\s*)+",
    re.I,
)
_NO = re.compile(
    r"(?:(?:no|nope|nah|not now|no need|not necessary|don't|i'm good|i'm fine|that's wrong|not quite|"
    rf"that's not right|wrong|incorrect|{_THANKS}{_MUCH})\s*)+",
    re.I,
)
_BYE = re.compile(
    rf"(?:(?:no|nope|yes|yeah|{_THANKS}{_MUCH}|that's (?:all|it|everything)|that is (?:all|it|everything)|"
    r"that (?:was|will be|would be) (?:all|it)|i'm (?:done|good|fine)|nothing else|nothing|never ?mind|forget it|"
    r"have a (?:good|nice|great) (?:day|one|evening|night|weekend)|you too|take care|"
    r"bye|bye bye|goodbye|good bye|good night|see you(?: later)?|"
    r"talk to you later|i have to go|i need to go|hang up|that's all i (?:need|needed|wanted)(?: to know)?|"
    r"for (?:now|today))\s*)+",
    re.I,
)
_ENDS = re.compile(
    r"\b(?:bye|goodbye|good night|that's (?:all|it|everything)|that is all|i'm done|nothing else|take care|see you|"
    r"hang up|have to go|need to go|talk to you later|(?:will|would) be (?:all|it)|was (?:all|it)|nothing)\b",
    re.I,
)
_THANKED = re.compile(rf"(?:{_THANKS}{_MUCH}\s*)+", re.I)
_HELLO = re.compile(
    r"(?:(?:hi|hello|hey|good (?:morning|afternoon|evening|day)|there|anyone|is|anybody|someone|can you hear me|"
    r"are you there)\s*)+",
    re.I,
)
_HOW_ARE_YOU = re.compile(
    r"(?:hi |hello |hey |there )*how(?: are|'re|r) you(?: doing| today)*|how is it going|what's up", re.I
)
_WHO = re.compile(
    r"\b(?:are you (?:an? )?(?:real|human|robot|machine|computer|bot|ai|person|artificial|automated|recording)|"
    r"(?:am i|is this|i'm|do i) (?:talk(?:ing)?|speak(?:ing)?)? ?(?:to |with )?(?:an? )?"
    r"(?:robot|real|human|machine|computer|bot|ai|recording|person|automated)|"
    r"who are you|who am i (?:talking|speaking)|what are you|what(?:'s| is) your name|who is this)\b",
    re.I,
)
_AGAIN = re.compile(
    r"(?:(?:sorry|i'm sorry|excuse me|could you|can you|would you|what|i)\s*)*"
    r"(?:pardon(?: me)?|come again|what was that|what did you say|(?:repeat|say) (?:that|it|this)?"
    r"(?: again| one more time| once more)?|repeat|"
    r"(?:didn't|did not|couldn't) (?:catch|hear|get|understand) (?:that|you|it|what you said)|"
    r"again|one more time|what|sorry)",
    re.I,
)
_NEVER_MIND = re.compile(
    r"\b(?:never ?mind|forget (?:it|about it|the message)|cancel (?:that|it|the message)|no message|leave it|"
    r"don't (?:bother|take|want)|changed my mind|drop it|skip it)\b",
    re.I,
)
_QUESTION = re.compile(
    r"^(?:(?:and|but|so|also|wait|hold on|one moment|before that|first|by the way|sorry)\s+)*"
    r"(?:what|when|where|which|who|why|how|is|are|do|does|did|can|could|will|would|may|should|am)\b",
    re.I,
)
_MESSAGE = re.compile(
    r"\b(?:take|leave|pass on|give (?:them|him|her)) (?:a |my |this )?message|(?:call|ring|phone) (?:me|us) back|"
    r"(?:get|call|ring|come) back to (?:me|us)|give (?:me|us) a (?:call|ring)|"
    r"(?:somebody|someone|anybody|anyone|they|them) (?:to )?(?:call|ring|phone|contact) (?:me|us)\b|a call ?back",
    re.I,
)
_HUMAN = re.compile(
    r"\b(?:speak|talk|connect me|put me through|transfer me|get me)(?: to| with)? (?:an? |the |some|any|your )?"
    r"(?:real |human |live |actual )?"
    r"(?:human|person|one|body|agent|manager|someone|somebody|anyone|staff|operator|owner)\b",
    re.I,
)
_NAME = re.compile(
    r"\b(?:this is|i am called|i'm called|it's|it is|i'm|i am|call me|here is)\s+"
    r"((?:(?!(?:about|and|my|at|on|the|a|an|calling|from|not)\b)[A-Za-z'.-]+\s*){1,4})",
    re.I,
)
_SAID_NAME = re.compile(
    r"\b(?:(?:my|the) (?:full |first |last )?name(?:'s| is)|name is)\s+(?:not [A-Za-z'-]+,? (?:but|it's) )?"
    r"((?:(?!and\b|my\b|about\b|at\b|on\b)[A-Za-z'-]+\s*){1,4})",
    re.I,
)
_LINE = re.compile(
    r"\b(?:this (?:number|line|one)|(?:the )?(?:same )?number (?:that )?i(?:'m| am)? call(?:ed|ing)? from|"
    r"same number)\b",
    re.I,
)
_NONE = re.compile(
    r"\b(?:no (?:number|phone)|(?:don't|do not) have (?:a |one|any)|rather not|no need to call)\b", re.I
)

_DIGITS = {
    "zero": "0", "oh": "0", "o": "0", "nought": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
    "thirteen": "13", "fourteen": "14", "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18",
    "nineteen": "19",
}  # fmt: skip
_TENS = {
    "twenty": "2", "thirty": "3", "forty": "4", "fifty": "5", "sixty": "6", "seventy": "7", "eighty": "8",
    "ninety": "9",
}  # fmt: skip
_OHS = frozenset({"a", "ah", "owe", "ow"})
_TIMES = {"double": 2, "triple": 3}

SAME_NUMBER = "the number of this call"
NO_NUMBER = "none given"
SHORTEST_NUMBER = 5


def plain(text: str) -> str:
    """The turn without punctuation and fillers."""
    return " ".join(_FILLER.sub(" ", text.replace(_QUOTE, "'")).split())


def is_yes(text: str) -> bool:
    return _YES.fullmatch(plain(text)) is not None


def is_no(text: str) -> bool:
    said = plain(text)
    return _NO.fullmatch(said) is not None and not _THANKED.fullmatch(said)


def is_goodbye(text: str) -> bool:
    """A turn that ends the call and asks for nothing more."""
    said = plain(text)
    return _BYE.fullmatch(said) is not None and _ENDS.search(said) is not None


def is_thanks(text: str) -> bool:
    return _THANKED.fullmatch(plain(text)) is not None


def is_hello(text: str) -> bool:
    return _HELLO.fullmatch(plain(text)) is not None


def is_how_are_you(text: str) -> bool:
    return _HOW_ARE_YOU.fullmatch(plain(text)) is not None


def asks_who(text: str) -> bool:
    """Whether it asks who, or what, is speaking."""
    return _WHO.search(plain(text)) is not None and len(text.split()) < 16


def asks_again(text: str) -> bool:
    return _AGAIN.fullmatch(plain(text)) is not None


def is_question(text: str) -> bool:
    return text.rstrip().endswith("?") or _QUESTION.match(plain(text)) is not None


def drops_message(text: str) -> bool:
    return _NEVER_MIND.search(text) is not None


def wants_message(text: str) -> bool:
    return _MESSAGE.search(text) is not None


def wants_human(text: str) -> bool:
    return _HUMAN.search(text) is not None


def name(text: str) -> str | None:
    """The name in an answer to "what is your name?"; None when it holds none."""
    text = text.replace(_QUOTE, "'")
    found = _SAID_NAME.search(text) or _NAME.search(text)
    said = plain(found.group(1) if found else text)
    said = re.sub(r"^(?:(?:yes|yeah|sure|hi|hello|hey|of course|no)\s+)+", "", said, flags=re.I)
    if not said or len(said.split()) > 4 or any(char.isdigit() for char in said) or is_yes(said) or is_no(said):
        return None
    return " ".join(part[:1].upper() + part[1:] for part in said.split())[:60]


def said_name(text: str) -> str | None:
    """A name that is called one: "my name is …"; None otherwise."""
    found = _SAID_NAME.search(text.replace(_QUOTE, "'"))
    return name(found.group(0)) if found else None


def number(text: str) -> str | None:
    """The phone number in `text`, in digits or spoken words; None when it holds none."""
    digits = _longest_run(text)
    if len(digits.lstrip("+")) >= SHORTEST_NUMBER:
        return digits[:20]
    if _LINE.search(text):
        return SAME_NUMBER
    return NO_NUMBER if _NONE.search(text) else None


def _longest_run(text: str) -> str:
    """The last of the longest runs of digits: a number corrected in one breath counts as corrected."""
    runs, current, times, tens = [""], "", 1, ""
    for word in _with_ohs(re.findall(r"[a-z]+|\d+|\+", text.lower())):
        digits = word if word.isdigit() else _DIGITS.get(word)
        if word in _TIMES:
            times = _TIMES[word]
            continue
        if tens:
            current += tens if digits and len(digits) == 1 and digits != "0" else tens + "0"
            tens = ""
        if digits:
            current, times = current + digits * times, 1
        elif word in _TENS:
            tens = _TENS[word]
        elif word in {"plus", "+"} and not current:
            current = "+"
        elif word not in {"and", "uh", "um", "area", "code", "then", "dash", "hundred"}:
            runs, current = [*runs, current], ""
    runs.append(current + (tens + "0" if tens else ""))
    longest = max(len(run) for run in runs)
    return next(run for run in reversed(runs) if len(run) >= min(longest, 7) or len(run) == longest)


def _with_ohs(words: list[str]) -> list[str]:
    """The words with what an "oh" between digits is heard as put right; the number is read back anyway."""
    digit = [word.isdigit() or word in _DIGITS for word in words]
    return [
        "oh" if word in _OHS and 0 < at < len(words) - 1 and digit[at - 1] and digit[at + 1] else word
        for at, word in enumerate(words)
    ]


def is_only_number(text: str) -> bool:
    """A turn that is a phone number and hardly a word more."""
    words = re.findall(r"[a-z']+|\d+", text.lower())
    rest = [one for one in words if not (one.isdigit() or one in _DIGITS or one in _TENS or one in _TIMES)]
    return len(rest) <= 4 and len(_longest_run(text)) > SHORTEST_NUMBER and len(words) - len(rest) > len(rest)


def spelled(number: str) -> str:
    """A number as it is read out: digit by digit in groups of three; other texts unchanged."""
    digits = number.lstrip("+")
    if not digits.isdigit():
        return number
    groups = [" ".join(digits[at : at + 3]) for at in range(0, len(digits), 3)]
    return ("plus " if number.startswith("+") else "") + ", ".join(groups)
