"""The words callers use, as tables: words to drop, words that say little, words that mean the same."""

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
haven hasn hadn wasn weren didn doesn shouldn mustn him yourselves themselves
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
hold move send grab catch reach head pick drop fine happy glad worry mind supposed must require
requirement necessary usual usually normally regular regularly typical sometimes once twice currently lately
recently especially case fact part else myself yourself himself herself itself ourselves themselves job
include yearold dentist tooth business precisely whole entire entirely completely absolutely definitely desk
straight somewhere pass manage rather note suggest expect basic separately mine ours moment sense chance
luck hop stop step fresh quickly easy easily hard simple clear sound wonder line verify honey dear folks
asap talk problem ago clue company nighttime yearly annual slowly quickly slow
grandson granddaughter grandchild grandchildren grandparent grandparents grandkid
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
child kid toddler youngster kiddo kiddos preschooler
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
luggage baggage bag bags suitcase suitcases backpack backpacks duffel
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
pain hurt hurts throb throbs throbbing agony ache toothache aching sore painful killing
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
afraid scared scare scares fear fears panic panicky anxious anxiety nervous terrified phobia frightened dread
sedation sedate sedative calm relax
numb numbness novocaine anesthetic
injection shot jab
swollen swell swelling swelled
wedding bride groom
mail mailed
safe lock
insurance insured insurances insurer coverage
uninsured
installment installments instalment instalments monthly financing finance
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
    "girl": ("child",), "teenager": ("child",), "teen": ("child",), "grandson": ("child",),
    "granddaughter": ("child",),
    "grandkid": ("child",), "grandchild": ("child",), "nephew": ("child",), "niece": ("child",), "minor": ("child",),
    "electric": ("charge",),
}  # fmt: skip

# Ideas that any fact may share with any question: they tell facts on one subject apart, and make none the subject.
COMMON = frozenset(("price", "pay", "free", "charg"))
_KIND_NAMES = """
PRICE TIME DURATION DISTANCE COUNT OFTEN AGE SIZE WHERE WHO WHY OPINION
MINE REQUEST MENU LASTING OWN HOLIDAY MATERIAL DEFINITION WHICH ADVICE AVAILABLE NAMED COMPLAINT SPAN HURTING MEDICAL
"""
KINDS = frozenset(_KIND_NAMES.split())
# What callers ask of us that no fact can answer.
BEYOND = frozenset(("REQUEST", "MINE", "COMPLAINT", "MEDICAL"))
