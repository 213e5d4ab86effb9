"""The words callers use, as tables: phrases that are one idea, words to drop, words that mean the same."""

import re

# Several words that are one idea, and the ways of asking. Applied in order, before words are split; names in
# capitals are kinds of answer (a price, a time …).
PHRASES = tuple(
    (re.compile(rf"\b(?:{pattern})\b", re.MULTILINE), f" {name} ")
    for pattern, name in (
        (r"uh+|um+|erm?|hm+|mhm|you know|i mean|kind of|sort of|please|thank you|thanks|sorry", ""),
        (r"hi there|hey there|hello|hi|hey|good (?:morning|afternoon|evening|day)(?! \w+ing)", ""),
        (r"i(?:'m| am| was|'ve been)? (?:just )?(?:wondering|calling|asking|curious)(?: to ask)?", ""),
        (r"(?:can|could|would) you (?:\w+ )?(?:tell|remind|inform) me", ""),
        (r"(?:i(?:'d| would) (?:like|love|want) to|i (?:want|need) to|do you happen to) (?:know|ask|find out)", ""),
        (r"(?:i have )?(?:a |one )?(?:quick|short|little) question", ""),
        (r"any (?:idea|chance)|no idea|at the moment|right now|right away|of course|as well|after all|at all", ""),
        (r"in[ -]house|on[ -]site|on the premises|(?:cup|glass|bottle|bit|piece|pair|couple|lot|plenty) of", ""),
        (r"how (?:far ahead|far in advance|much notice|much warning)", "notice"),
        (r"how many (?:hours|days) (?=.{0,25}(?:ahead|advance|before))", "notice DURATION"),
        (r"how much (?:time|longer)|how long|how quick(?:ly)?", "DURATION"),
        (r"DURATION (?:does|do|will|would|can) ((?:\w+ ){1,5})take", r"DURATION \1 SPAN"),
        (r"how much|how expensive|what(?:'s| is) the damage|(?:run|set) (?:me|us)(?: back)?|how costly", "PRICE"),
        (r"what (?:times?|hours?)|(?:until|till|by|from) (?:when|what (?:time|hour))|at what (?:time|hour)", "TIME"),
        (r"how (?:late|early|soon)", "TIME"),
        (r"how (?:far|close|near)", "DISTANCE"),
        (r"how many (?:minutes|hours|days|weeks|months|years)", "DURATION"),
        (r"how many (\w+)", r"COUNT count\1"),
        (r"for (?:hotel |your |the )?(?:guests|patients|customers|visitors)", ""),
        (r"time free|free time|feel free", "time"),
        (
            r"new year(?:'s)?(?: eve| day)?|christmas(?: eve| day)?|easter|thanksgiving|(?:public |bank )?holidays|"
            r"(?:public|bank) holiday|memorial day|labor day|fourth of july|independence day",
            "HOLIDAY",
        ),
        (r"made (?:of|from|out of)", "MATERIAL"),
        (r"what(?:'s| is) an? (?:\w+ ?){1,2}(?=$|[?.])", "DEFINITION"),
        (
            r"what (?:(?:kinds?|types?|sorts?|brands?) of )?(?!hours|times?|day)(\w+) "
            r"do you (?:have|serve|sell|stock)",
            r"WHICH \1",
        ),
        (r"(?:what|which)(?: \w+)? (?:should|can|could|do) i (?:take|do|use) (?:for|about|against)", "ADVICE"),
        (
            r"(?:free|available|vacant|left)(?= (?:tonight|tomorrow|next|from|on the|"
            r"this (?:week|weekend|\w+day)|for (?:tonight|tomorrow)))",
            "AVAILABLE",
        ),
        (r"(?:is|was|are) my (?:room|appointment|reservation|booking|table|car|order)", "MINE"),
        (r"(?:who is|who's|who are|(?:what is|what's) the name of) (?:the|your)|'s name", "NAMED"),
        (r"next to|across from|beside|opposite", "nextto"),
        (r"happy hour", "happyhour"),
        (r"last (?:week|night|month|year)", ""),
        (r"DURATION (?:does|do|will|would|can) ((?:\w+ ){1,5})take", r"DURATION \1 SPAN"),
        (r"(?:does|do|will|would) ((?:\w+ ){1,3})hurt(?=$|[?.,])", r"\1 HURTING"),
        (r"what (?:do|are) you (?:serve|serving|have|offer) (?:for|at)", "MENU"),
        (r"without an? (?:appointment|reservation|booking)", "walkin"),
        (r"put under|knocked out", "anaesthesia"),
        (
            r"(?:how|far,?|is (?:it|the \w+)(?: \w+)?|are you|very|pretty|too) close"
            r"(?! at| on| in| for| early| late| today| tomorrow)",
            "near",
        ),
        (r"(?:avoid|without|not) (?:paying|(?:a |any )?(?:charge|fee|cost|penalty))", "free"),
        (r"(?:month|week)s?[ -]old", "baby"),
        (r"(?:a|the) (?:best|good|easiest|quickest) way", ""),
        (r"(?:is|are|was|were) too (?:cold|hot|loud|noisy|small|dirty)|complain(?:t|ts|ing)?|were you", "COMPLAINT"),
        (
            r"(?:has|have|did|is) my "
            r"(?:husband|wife|son|daughter|friend|guest|colleague|boss|mother|father|brother|sister)|"
            r"did you (?:get|receive) my|have you (?:got|received) my",
            "MINE",
        ),
        (r"(?:kids?|kiddie|children'?s|baby|toddler|paddling) pool", "kidpool"),
        (r"(?:second|other|another) (?:location|office|practice|branch)", "branch"),
        (r"(?:3|three)[ -]?d", "threed"),
        (r"(?:have|need) to (?:book|reserve|order|sign up)", "prebook"),
        (r"same[ -]day", "sameday"),
        (r"how often|how frequently|how regularly", "OFTEN"),
        (r"how (?:old|young)|(?:what|which) age|minimum age|age limit", "AGE"),
        (
            r"(?:i'm|i am|he's|he is|she's|she is|they're)(?: only| just)? "
            r"(?:(?:four|fif|six|seven|eigh|nine)teen|twenty(?: one)?)(?! (?:people|minutes|of))",
            "AGE",
        ),
        (r"how (?:big|large|small)|what size", "SIZE"),
        (r"where(?:abouts)?", "WHERE"),
        (r"when|what days?|which days?", "TIME"),
        (r"whose|whom|who's|who", "WHO"),
        (r"why", "WHY"),
        (r"what(?:'s| is) (?:for|on)(?= )", "MENU"),
        (r"(?<=\w )lasts?(?=$|[,?.!])", "LASTING"),
        (r"any good|(?:the|your) best|recommend\w*|worth (?:it|the)|reviews?|which (?:one )?is better", "OPINION"),
        (r"TIME(?:'s| is| was| are| do| does)? (?:my|our|the next) (?:appointment|reservation|booking)", "MINE"),
        (
            r"(?<!if i )(?<!if we )(?<!when i )(?<!when we )"
            r"(?:move|reschedule|change|shift|switch|confirm|book|make|schedule|set up|arrange|reserve) "
            r"(?:me )?(?:my|our|an?|another) (?:\w+ )?"
            r"(?:appointment|reservation|booking|visit|table|room|suite|slot|time|date)",
            "REQUEST",
        ),
        (r"(?:speak|talk) (?:to|with)|(?:connect|transfer|put) (?:me|us) (?:to|through|with)", "REQUEST"),
        (r"check(?:ing|s|ed)?[ -]?in", "checkin"),
        (r"check(?:ing|s|ed)?[ -]?out", "checkout"),
        (r"check[ -]?ups?", "checkup"),
        (r"(?:opening|office|business|working|operating|your) hours|hours of operation", "openinghours TIME"),
        (
            r"(?:are|do|will) you (?:guys |people |folks )?(?:still )?(?:open|close|closed)(?! to| by| \w+ing)",
            "openinghours TIME",
        ),
        (
            r"(?:you're|you are|we're|we are) (?:open|closed)|are you in\b(?= on| at| tomorrow| today| \w+days?)",
            "openinghours TIME",
        ),
        (r"(?:wi|why)[ -]?fi|wireless(?: internet| network)?", "wifi"),
        (r"x[ -]?rays?", "xray"),
        (r"root can(?:al|als|el)", "rootcanal"),
        (r"wisdom (?:tooth|teeth)", "wisdomtooth"),
        (r"room service", "roomservice"),
        (
            r"(?:no|without(?: any| an)?|don't have(?: any| an)?|lost my|not have) "
            r"(?:dental )?(?:insurance|coverage)",
            "uninsured",
        ),
        (r"(?:not|isn't|i'm not) (?:insured|covered)|out[ -]of[ -]pocket|uninsured", "uninsured"),
        (r"front desk", "reception"),
        (r"air[ -]?con(?:ditioning|ditioned|ditioner)?|a[ /.]?c\.?", "aircon"),
        (r"charging|chargers?|recharg(?:e|ing)|plug(?:ging)?(?: \w+){0,4} in(?: \w+ (?:tesla|car|ev))?", "evcharge"),
        (r"e\.?v\.?'?s?|electric (?:cars?|vehicles?)", "electriccar"),
        (r"(?:sat|satellite)[ -]?nav|g\.?p\.?s\.?", "gps"),
        (r"(?:by|for) (?:him|her|them|my|your|our)sel(?:f|ves)|on (?:his|her|their|my) own|unaccompanied", "alone"),
        (r"without (?:me|us|an? adult|(?:a )?parents?)|unsupervised", "alone"),
        (r"(?:my|our) own", "OWN"),
        (
            r"(?:tooth|teeth|molar)(?: was| is| has been)? (?:taken |pulled |removed )?out(?! of)|"
            r"take out (?:my |a |the )?(?:tooth|teeth)",
            "tooth pull",
        ),
        (r"close (?:by|to)|nearby|walking distance", "near"),
        (r"no[ -]shows?|(?:don't|didn't|not) show(?: up)?", "noshow"),
        (r"work(?:ing)?[ -]out", "workout"),
        (r"(?:twenty[ -]four|24)[ -](?:hours?|seven|7)|24/7|(?:a?round) the clock|day and night", "allday"),
        (r"credit[ -]cards?|debit[ -]cards?", "creditcard"),
        (r"key ?cards?", "keycard"),
        (r"laughing gas|nitrous oxide", "laughinggas"),
        (r"rail(?:way|road)?", "train"),
        (r"year[ -]old|years[ -]old", "yearold"),
        (r"(?:after|outside)(?: office| of| opening| business)? hours", "afterhours"),
        (r"smoke[ -]free|non[ -]?smoking", "smoke"),
        (r"an? extra bed|additional bed|rollaway(?: bed)?|foldaway(?: bed)?", "extrabed"),
        (r"grown[ -]?ups?", "adult"),
        (r"first[ -]time", "first"),
        (r"(?:come|came|comes) along", "come"),
        (r"call(?:ing)? off", "cancel"),
        (r"throw(?:n|s)? in", "include"),
        (r"clear(?:ed|ing)? out|(?:get|be|move|moved|moving) out|(?:want|need) us out", "vacate"),
        (
            r"(?:forgot|forgotten|left|lost|misplaced) (?:my|our|his|her|some|one of my|an?) "
            r"(?!(?:room |hotel )?key|appointment|insurance)\w+",
            "forget lose",
        ),
        (r"(?:afraid|scared|terrified|frightened|fear) of (?:the |my )?\w+(?: and \w+)?", "afraid"),
        (r"\d+(?::\d+)?(?: ?[ap]\.?m\.?)?|o'?clock", ""),
    )
)

# Articles, pronouns, auxiliaries, numbers.
_STOP_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand half
quarter second third fourth fifth a an the this that these those there here it its he she they them his her
their i me my mine we us our ours you your yours is are was were be been being am do does did done doing
have has had having can could will would shall should may might must ought to of in on at by for from with
without into onto out up down off over under about as if whether or and but so than then because since while
though although not no nor yes yeah yep what which how any some all both each every either neither ones ok
okay just also too very much many more most such only own same other another else again still yet already
ever never always now well guys ma'am sir s t d ll re ve m don doesn isn aren won wouldn couldn can't cannot
gonna wanna gotta got let lets through via per between during within upon oh ah like pm dollar bucks eh huh
going gone goes anywhere anyone isn't aren't don't
"""
STOP = frozenset(_STOP_WORDS.split())

# Words that say little about the subject: found in a fact they help a bit, missing there they do no harm.
_LIGHT_WORDS = """
crazy terrible awful bad notice avoid get take bring go come use need want make give put find tell know
think see look ask help call try do brew plan stay arrive travel book visit leave land hear read say
understand believe guess assume hope wish love enjoy offer provide serve accept allow permit let possible
available able right correct prepare true sure exactly special certain particular kind type sort extra
separate additional different hotel place office practice clinic building town city area site property
website page brochure online person people spot deal visitor customer client patient someone anyone anybody
somebody everyone friend husband wife mother father mom dad mum parent son daughter brother sister
grandmother grandfather grandma grandpa partner girlfriend boyfriend nephew niece uncle aunt cousin
colleague boss guy lady man woman today tonight tomorrow yesterday week weekend weekday month year day night
morning afternoon evening noon midnight hour minute time date monday tuesday wednesday thursday friday
saturday sunday january february march april may june july august september october november december summer
winter spring autumn next first soon long short quick near nearby far around until till before after ahead
advance start begin end finish back away along together thing stuff something anything everything nothing
way lot bit few couple little nightly daily really actually maybe perhaps probably basically simply quite
pretty almost enough interested interest question answer information info detail policy option matter trip
vacation weekly instead flight airplane plane journey appointment room front amount sum number show turn
hold move send grab catch reach head pick drop suit fine happy glad worry mind supposed must require
requirement necessary usual usually normally regular regularly typical sometimes once twice currently lately
recently especially case fact part else myself yourself himself herself itself ourselves themselves job
include yearold dentist tooth business precisely whole entire entirely completely absolutely definitely desk
straight somewhere pass manage rather note suggest expect basic separately mine ours moment sense chance
luck hop stop step fresh quickly easy easily hard simple clear sound wonder line verify honey dear folks
asap
"""
LIGHT = frozenset(_LIGHT_WORDS.split())

# Each line: words that mean the same to someone who answers a phone. The first names the idea.
SAME = """
price cost fee rate tariff pricing costly expensive cheap cheaper priced surcharge
pay payment paid
free complimentary gratis
car vehicle automobile truck van suv
bicycle bike cycle cycling
dog puppy pup doggy terrier retriever poodle labrador bulldog dachshund beagle spaniel chihuahua hound
cat kitten kitty
pet animal furry
child kid toddler youngster
baby infant newborn
crib cot cradle
elevator lift
pool swim swimming swam
wheelchair rollator
disability disabled handicapped handicap mobility
accessible accessibility barrier barrierfree stepfree
stairs stair step steps staircase
wifi internet online
password passcode code login
luggage baggage bag bags suitcase suitcases
gym fitness exercise workout weights
refrigerator fridge minifridge
coffee espresso
laundry wash washing washed
clothes clothing shirt shirts garment
include cover covered covers
close closed closing shut
food meal eat eating hungry
drink drinks beer wine cocktail cocktails alcohol nightcap
smoke smoking smoker smokers cigarette cigarettes cigar tobacco vape
creditcard visa mastercard amex plastic
deposit
identification id passport
shuttle
airport
pickup
bus buses
taxi cab
train amtrak
meeting conference seminar boardroom workshop
beach shore sand seaside
harbor harbour waterfront boats
view overlook overlooking
cancel cancellation cancelled canceled cancelling
refund refundable reimburse
discount reduction deal
group groups team
parking park parked
garage
electriccar tesla
address located location directions
dentist doctor
emergency urgent urgently emergencies
pain hurt hurts ache toothache aching sore painful killing
broke break broken chip chipped crack cracked
cleaning clean cleaned cleanings
whitening whiten whiter bleach bleaching bleached brighter brighten whitened
filling fill cavity cavities decay fillings
crown cap crowns
extraction extract extracted pull pulled pulling remove removed removal
implant implants
braces brace
aligner aligners invisalign
straighten crooked
countperson countpeople countguests countguest countpersons countattendees countparticipants
countvisits countvisit countappointments counttimes counttrips countsessions
orthodontist orthodontic orthodontics
afraid scared fear anxious anxiety nervous terrified phobia frightened dread
sedation sedate sedative calm relax
numb numbness novocaine anesthetic
injection shot
insurance insured insurances insurer coverage
uninsured
installment installments monthly financing finance
reminder remind reminders
records record files file chart
spanish
language languages speak
medicaid
membership member
adult guardian
alone
lost lose losing
forget forgot forgotten misplace misplaced
reception lobby
register join enroll
return returned
"""

IRREGULAR = {
    "children": "child", "teeth": "tooth", "feet": "foot", "men": "man", "women": "woman", "left": "leave",
    "kept": "keep", "brought": "bring", "took": "take", "taken": "take", "gave": "give", "given": "give",
    "came": "come", "went": "go", "gone": "go", "told": "tell", "said": "say", "heard": "hear", "found": "find",
    "thought": "think", "knew": "know", "saw": "see", "seen": "see", "sent": "send", "ate": "eat", "bought": "buy",
    "better": "good", "best": "good", "drove": "drive", "flew": "fly", "held": "hold", "made": "make",
    "people": "person", "wives": "wife", "knives": "knife", "dies": "die", "gas": "gas", "bus": "bus",
    "clothes": "clothes", "glasses": "glasses", "this": "this", "plus": "plus", "access": "access",
    "smoking": "smoke", "smoked": "smoke", "earliest": "early", "earlier": "early", "later": "late", "latest": "late",
    "longer": "long", "cheapest": "cheap", "cheaper": "cheap",
}  # fmt: skip

# A word that is also a kind of answer, or brings a second idea with it.
ALSO = {
    "price": ("PRICE",), "charge": ("PRICE",), "pay": ("PRICE",), "free": ("PRICE",), "dollar": ("PRICE",),
    "include": ("free", "PRICE"), "money": ("PRICE",), "bill": ("PRICE",), "discount": ("PRICE",),
    "open": ("TIME",),
    "close": ("open", "TIME"), "hour": ("TIME",), "time": ("TIME",), "until": ("TIME",), "till": ("TIME",),
    "noon": ("TIME",), "midnight": ("TIME",), "allday": ("TIME",), "minute": ("DURATION",), "schedule": ("TIME",),
    "located": ("WHERE",), "address": ("WHERE",),
    "walk": ("DISTANCE",), "swimming": ("pool",), "wifi": ("internet",), "internet": ("wifi",),
    "dog": ("pet",), "cat": ("pet",), "son": ("child",), "daughter": ("child",), "boy": ("child",),
    "girl": ("child",), "teenager": ("child",), "minor": ("child",), "electric": ("charge",),
}  # fmt: skip

# Ideas that any fact may share with any question: they tell facts on one subject apart, and make none the subject.
COMMON = frozenset(("price", "pay", "free", "charg"))
_KIND_NAMES = """
PRICE TIME DURATION DISTANCE COUNT OFTEN AGE SIZE WHERE WHO WHY OPINION
MINE REQUEST MENU LASTING OWN HOLIDAY MATERIAL DEFINITION WHICH ADVICE AVAILABLE NAMED COMPLAINT SPAN HURTING
"""
KINDS = frozenset(_KIND_NAMES.split())
# What callers ask of us that no fact can answer.
BEYOND = frozenset(("REQUEST", "MINE", "COMPLAINT"))
