"""What callers say in several words: phrases that are one idea, and the ways of asking."""

# Several words that are one idea, and the ways of asking. Applied in order, before words are split; names in
# capitals are kinds of answer (a price, a time …).
PHRASES = (
    (
        r"(?:half|part|a piece|a corner|a chunk)(?: of)? (?:my |a |the |his |her )?(?:front )?(?:tooth|molar)|"
        r"(?:tooth|molar) (?:is|has|was) (?:gone|come off|in two|in half)",
        "broke tooth",
    ),
    (r"(?:came|come|broke|broken|snapped|chipped) off", "broke"),
    (r"uh+|um+|erm?|hm+|mhm|you know|i mean|kind of|sort of|please|thank you|thanks|sorry", ""),
    (r"hi there|hey there|hello|hi|hey|good (?:morning|afternoon|evening|day)(?! \w+ing)", ""),
    (r"i(?:'m| am| was|'ve been)? (?:just )?(?:wondering|calling|asking|curious)(?: to ask)?", ""),
    (r"(?:can|could|would) you (?:\w+ )?(?:tell|remind|inform) me", ""),
    (r"(?:i(?:'d| would) (?:like|love|want) to|i (?:want|need) to|do you happen to) (?:know|ask|find out)", ""),
    (r"(?:i have )?(?:a |one )?(?:quick|short|little) question", ""),
    (r"any (?:idea|chance)|no idea|at the moment|right now|right away|of course|as well|after all|at all", ""),
    (r"in[ -]house|on[ -]site|on the premises|(?:cup|glass|bottle|bit|piece|pair|couple|lot|plenty) of", ""),
    (r"(mother|father|sister|brother|son|daughter|mom|dad)s?[ -]in[ -]law", r"\1"),
    (r"(someone|somebody|anyone|anybody|person|people|one|dentist|doctor|man|woman) who", r"\1"),
    (r"(place|spot|somewhere|anywhere|area|corner) where|(day|time|evening|morning|moment) when", r"\1\2"),
    (
        r"(?:come|visit|go) (?:to |at )?(?:my|our|his|her|their|people's|someone's) (?:homes?|house)|"
        r"house calls?|home visits?",
        "housecall",
    ),
    (r"how much (?:will|do|does|would) (?:they|it|my insurance|my plan) (?:pay|cover)", "reimbursement"),
    (
        r"(?:old|young) enough|too (?:old|young)|turn(?:ed|s|ing)? (?:one|two|three|four|five|six|seven|eight|nine|"
        r"ten|eleven|twelve|\w+teen|twenty)|(?<=kids )(?:that|so) (?:small|little|young)|"
        r"(?<=children )(?:that|so) (?:small|little|young)",
        "AGE",
    ),
    (
        r"pregnant|pregnancy|diabetic|diabetes|breastfeeding|epilep\w+|blood thinners?|pacemaker|chemo(?:therapy)?|"
        r"heart (?:condition|disease|murmur|problem)s?|allerg(?:y|ies|ic)(?: to)?",
        "MEDICAL",
    ),
    (r"(?:is|are|was|were|went|it's|they're) (?:gone|missing|nowhere to be found)", "lose"),
    (r"(?:block|freeze|reserve) (?:any |some |the )?(?:money|amount)", "hold deposit"),
    (r"(?:to|we|i|can|could) train(?=$|[?.,]| at| in| for)", "workout"),
    (r"on[ -]call", "oncall"),
    (r"open the door|open up for (?:me|us)", "letin"),
    (r"file (?:it|them|the \w+) down", "filedown"),
    (r"(?:lip|tongue|mouth|cheek|face)(?: is|'s|s are)?(?: still)? asleep", "numb"),
    (r"(?:morning|breakfast) (?:buffet|meal)", "breakfast"),
    (
        r"(?:at |around |about |till |until |after )?(?:one|two|three|four|1|2|3|4) ?"
        r"(?:in the morning|at night|a\.?m\.?)|"
        r"(?:after|past|around) midnight|(?:in the )?middle of the night|dead of night",
        "nighttime",
    ),
    (r"check (?:if|whether)|(?:is|would|will) (?:that|it|this) (?:be )?(?:a problem|a big deal|too much)", "is it"),
    (
        r"(?:don't|doesn't|do not|does not) (?:own|have|drive)(?: an?| any| my own)? car|"
        r"(?:no|without an?|without my) car|(?:don't|doesn't|do not|does not|can't|cannot) drive",
        "nocar",
    ),
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
    (
        r"WHERE (?:exactly |precisely )?(?:are|is) (?:you|the (?:hotel|practice|office|clinic))(?=$|[?.,])",
        "WHERE address",
    ),
    (
        r"when|what days?|which days?|(?:before|after|by|at) (?:that|then)(?=$|[?.,])|that (?:early|late)(?=$|[?.,])",
        "TIME",
    ),
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
    (
        r"(?:speak|talk) (?:to|with)(?! (?:him|her|them))|(?:connect|transfer|put) (?:me|us) (?:to|through|with)",
        "REQUEST",
    ),
    (r"check(?:ing|s|ed)?[ -]?in", "checkin"),
    (r"check(?:ing|s|ed)?[ -]?out", "checkout"),
    (r"check[ -]?ups?", "checkup"),
    (r"(?:opening|office|business|working|operating|your) hours|hours of operation", "openinghours TIME"),
    (
        r"(?:are|do|will) you (?:guys |people |folks )?(?:still )?(?:open|close|closed)(?! to| by| \w+ing)",
        "openinghours TIME",
    ),
    (
        r"(?:you're|you are|we're|we are) (?:open|closed)|"
        r"are you (?:in|there|around|here)\b(?= on| at| tomorrow| today| \w+days?)",
        "openinghours TIME",
    ),
    (r"(?:wi|why)[ -]?fi|wireless(?: internet| network)?", "wifi"),
    (r"x[ -]?rays?", "xray"),
    (r"root can(?:al|als|el)", "rootcanal"),
    (r"wisdom (?:tooth|teeth)", "wisdomtooth"),
    (r"room service", "roomservice"),
    (
        r"(?:insurance|coverage)(?: has| have| just)? (?:ended|ends|ran out|runs out|expired|lapsed|stopped)",
        "uninsured",
    ),
    (
        r"(?:no|without(?: any| an)?|don't have(?: any| an?)?|lost my|not have) "
        r"(?:dental )?(?:insurance|coverage|dental plan)",
        "uninsured",
    ),
    (r"(?:not|isn't|i'm not) (?:insured|covered)|out[ -]of[ -]pocket|uninsured", "uninsured"),
    (r"front desk", "reception"),
    (r"air[ -]?con(?:ditioning|ditioned|ditioner)?|a[ /.]?c\.?", "aircon"),
    (r"charging|chargers?|recharg(?:e|ing)|plug(?:ging)?(?: \w+){0,4} in(?: \w+ (?:tesla|car|ev))?", "evcharge"),
    (r"(?:can|could|may|to|we|i) charge (?:it|them)(?: up)?(?! to| on)", "evcharge"),
    (
        r"e\.?v\.?'?s?|(?:electric|hybrid) (?:\w+ )?(?:cars?|vehicles?)|nissan leaf|chevy bolt|rivian|ioniq",
        "electriccar",
    ),
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
    (r"call(?:ing|ed)? (?:(?:it|this|that|everything|the \w+|my \w+|our \w+) )?off|cry off", "cancel"),
    (
        r"(?:can't|cannot|can not|couldn't|won't|not able to|unable to|not be able to|don't|didn't) "
        r"(?:make (?:it|my|the|our)|keep (?:my|the|our) (?:appointment|booking|reservation))(?: appointment)?",
        "cancel",
    ),
    (
        r"(?:fall|falls|fell|fallen) through|back out(?: of)?|get out of (?=(?:it|the|my|our) (?:book|res|trip))",
        "cancel",
    ),
    (
        r"(?:don't|doesn't|didn't|not) (?:come|turn up|appear)"
        r"(?=$|[?.,]| to (?:my|the|an|our) (?:appointment|visit))",
        "noshow",
    ),
    (
        r"(?:can't|cannot|can not|couldn't|could not|unable to|don't|didn't|never) (?:seem to )?(?:find|locate)"
        r"(?= (?:my|our|his|her|the|it|them|one)\b)",
        "lose",
    ),
    (r"(?:left|leave|leaving|stayed) behind|must have left|may have left|might have left", "forget lose"),
    (r"light(?:ing)? up|have a (?:smoke|puff|cigarette)", "smoke"),
    (
        r"spread (?:(?:it|that|this|them|the \w+|my \w+) )?(?:out|over)|bit by bit|little by little|"
        r"in (?:parts|pieces|stages|steps|several payments|small amounts)|over (?:time|several months|a few months)|"
        r"a (?:bit|little) (?:each|every|at a) (?:month|time)|pay(?:ing)? (?:it|that|this|them|the \w+) (?:off|back)|"
        r"(?:each|every|per|by the) month(?! old)|all at once|in one go",
        "installment",
    ),
    (r"(?:hang|hold|holding|hanging) (?:on to|onto)", "keep"),
    (r"let (?:me|us|him|her|them) in", "letin"),
    (r"(?:show|shows|showing|showed) up", "arrive"),
    (r"(?:can't|cannot|don't|no|still not) feel(?:ing)?(?= (?:my|his|her|in|any)\b)", "numb"),
    (
        r"(?:has|have|had|needs?|must|should|needed|could|can|will|would) (?:it |they |them )?(?:to )?come out|"
        r"(?:get|have|getting|having) (?:it|them|that|one) (?:taken |pulled )?out",
        "pull",
    ),
    (r"(?:pick|picks|picked|picking) (?:me|us|him|her|them|people|someone) up", "pickup"),
    (
        r"takes? (?:me|us|him|her|them|people) (?:to|from|there|back)|bring (?:me|us) (?:to|from) (?:you|the)",
        "transfer",
    ),
    (
        r"(?:get|getting) (?:over |out )?to (?:you|your \w+|the (?:hotel|office|practice|clinic))|reach you",
        "getthere",
    ),
    (
        r"(?:something|anything|somewhere|place|spot) for (?:\w+ )?\w+ to sleep(?: in| on)?",
        "bed",
    ),
    (
        r"(?:he|she|they|it)(?:'s|'re| is| are| will be|'ll be) (?:only |just |about |almost |nearly )?\w+ "
        r"(?:months?|weeks?)(?: baby| old)?",
        "baby",
    ),
    (r"little ones?|twins", "child"),
    (
        r"(?:better|special|lower|reduced|cheaper|good|nicer) (?:price|rate|deal|offer)s?|"
        r"(?:something|anything|money|percent|a bit|a little) off|(?:something|anything) (?:on|about) the price",
        "discount",
    ),
    (
        r"(?:ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|twenty|thirty|forty|fifty|a dozen|"
        r"several|many|lots of) rooms",
        "group room",
    ),
    (r"(?:get|gets|getting|got|be) married|marrying", "wedding"),
    (r"lock(?:ed|ing)? (?:(?:it|them|\w+|my \w+) )?(?:away|up)", "lock"),
    (r"in (?:bills|notes|banknotes|paper money)|with bills|paper money|banknotes", "cash"),
    (r"(?:stay|keep|kept|be|stays)(?: (?:it|them|my|the)(?: \w+)?)? (?:cold|cool|chilled)", "refrigerator"),
    (r"(?:send|bring|brought|sent)(?: \w+){0,3} up(?= |[?.,]|$)", "deliver"),
    (r"(?:be|us|me) gone", "vacate"),
    (r"sign(?:ing|ed)? (?:up|on)", "register"),
    (
        r"(?:new patients?|anyone new|anybody new|someone new|somebody new|new people|new families|new ones)",
        "new patient",
    ),
    (r"(?:squeeze|fit|slot|work) (?:me|us|him|her|them) in", "sameday see"),
    (r"on top(?= |[?.,]|$)(?! of)|on top of (?:that|it)", "extra"),
    (r"on foot", "walk"),
    (r"(?:make|give|get|bring|send) (?:me|us) (?:a new|another|a second|a different) one", "replacement"),
    (r"what(?: is| was|'s) (?:it|that|this|the call) about", "callback"),
    (r"is (?:that|this|it) (?:still |really )?(?:true|right|so|correct|the case)(?=$|[?.,])", "is it"),
    (r"at (?:that|this) point(?: in time)?", ""),
    (r"(?:clear|invisible|see[ -]through) (?:ones|braces|trays|retainers)", "aligner"),
    (r"walk(?:s|ed|ing)? (?:him|it|my dog|the dog|our dog)", "dogwalk"),
    (r"(?:a|another) new (?=\w)(?!dentist|patient|customer)|another (?=one|filling|crown|implant)", "a"),
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
