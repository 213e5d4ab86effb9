"""The ledger: each promise of the specs, and the mark that says which test holds it.

A promise without a test, or a contract or e2e test without a promise, fails (tests/unit/test_promises.py).
"""

from collections.abc import Callable
from typing import TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])

PROMISES: dict[str, str] = {
    # local/phone
    "phone.answer": "200 OK only when someone in the room can be heard; the caller's attributes as livekit-sip's",
    "phone.audio": "audio both ways, in µ-law and A-law",
    "phone.transport": "an echo in the room is back at the caller within 0.16 s",
    "phone.keys": "pressed keys (RFC 4733) reach the room",
    "phone.bye": "a deleted room hangs up; an agent that leaves does not",
    "phone.hold": "a held call is silent both ways, shows in the room, and resumes",
    "phone.gone": "a phone that stops sending is hung up after its time, but not while it holds",
    "phone.process": "python -m local.phone: health, calls, and a clean end on SIGTERM",
    "phone.process.faults": "a taken port and a missing key are one sentence and exit status 2",
    "phone.busy": "nobody in the room: rings, then 486",
    "phone.unavailable": "LiveKit unreachable: 503, not silence",
    "phone.many": "calls at once from one caller each have a room and an id of their own",
    "phone.sip.retransmitted_invite": "the same INVITE several times is one call with one To tag",
    "phone.sip.lost_answers": "answers are sent again until acknowledged",
    "phone.sip.cancel": "CANCEL while ringing: 487, and the room is left",
    "phone.sip.reinvite": "every re-INVITE is answered; hold in its direction",
    "phone.sip.refusals": "404 for no number, 486 when full and after the ringing limit, 200 for OPTIONS",
    "phone.sip.hostile": "hostile packets are dropped and counted; calls go on",
    "phone.sip.baresip": "a softphone that is not ours hears and is heard",
    # tests/contract/test_webhook.py
    "webhook.forged": "Only what LiveKit signed has an effect: forged events of eight classes get 401.",
    "webhook.malformed": "A signed body that is no event gets 400, one beyond 1 MiB 413, an event of the future 200.",
    "webhook.recorded": "Every event of recorded calls gets 200, makes no ghost room, and no password of it is logged.",
    "webhook.dispatch": "A caller gets one agent with the persona of the dialed number, however it is spelled, and facts tell so.",
    "webhook.browser": "A browser is a caller only when its token denies changing its own attributes.",
    "webhook.outbound_leg": "A leg that we dialed gets no agent.",
    "webhook.once": "Equal webhooks at two receivers dispatch one agent.",
    "webhook.once_without_redis": "Equal webhooks dispatch one agent with Redis stopped.",
    "webhook.redis_hangs": "A Redis that hangs delays a call by little.",
    "webhook.persona_fallback": "A Persona API that is down, slow or answers nonsense gives the default persona within its time.",
    "webhook.persona_stale": "An older persona serves while the Persona API is slow or down, and is refreshed behind.",
    "webhook.single_flight": "Calls at once to one number make one look-up.",
    "webhook.hostile_number": "A hostile number gets the default persona and a fact, and never becomes a URL.",
    "webhook.watcher": "A caller whose webhook was lost gets an agent.",
    "webhook.watcher_again": "A caller whom no agent reaches gets another; a call that ends unanswered is closed on record.",
    "webhook.agent_there": "A caller with an agent in the room gets no other.",
    "webhook.cap": "Beyond 256 calls under way an event gets 503 and is taken when it comes again.",
    "webhook.drain": "A webhook service that is told to end serves what it took and refuses what comes with 503.",
    "webhook.health": "/health names degraded parts and is 503 only when no call can be answered.",
    "webhook.metrics": "/metrics counts events, look-ups and dispatches.",
    "webhook.bad_settings": "A busy port or a missing setting ends the webhook service with one sentence and status 2.",
    # control
    "control.log.order": "writers at once get one order, 1, 2, 3 …, without gaps, and each its own order",
    "control.log.once": "a fact recorded twice is one fact; appending is all or nothing",
    "control.log.read": "what was written is read back, from a place on, and as the latest items",
    "control.log.text": "text that Postgres cannot hold is recorded without what it cannot hold",
    "control.log.corrupt": "a row that cannot be read is skipped with a log line",
    "control.log.calls": "a call's row says the same whatever order its facts come in; a call ends once",
    "control.migrations": "any number of processes migrate one database once",
    "control.recorder.order": "facts of the stream are in the log once, in the stream's order, and then leave it",
    "control.recorder.flush": "a Redis that was flushed or was away: recording goes on",
    "control.recorder.postgres": "Postgres killed and back: nothing lost, nothing doubled, order kept",
    "control.recorder.garbage": "entries that are no facts are counted, logged and set aside",
    "control.recorder.poison": "a fact that the database refuses is set aside alone",
    "control.recorder.dead": "what a dead recorder took and did not record is recorded, before anything newer",
    "control.recorder.two": "two recorders: each fact once, in order; one takes over from the other",
    "control.api.personas": "personas are made, changed as versions, removed when no number leads to them; faults name fields",
    "control.api.numbers": "a number, in any spelling, leads to a persona or to weighted variants",
    "control.api.calls": "calls are listed, filtered, paged and shown with transcript, events and latencies",
    "control.api.web": "a browser gets a short token for one room, as a caller who cannot say who they are",
    "control.api.access": "roles, keys, expiry, revocation and the internal token open what they should, and nothing else",
    "control.api.audit": "every change is on record with who made it",
    "control.api.errors": "every fault is a documented status with a code and a sentence, never a stack trace",
    "control.api.away": "Postgres away: 503 with a sentence; back: answers again without a restart",
    "control.api.start": "a setting that keeps control from starting: one sentence, exit status 2",
    "control.api.first_start": "the first start makes an admin's key and loads the personas once",
    "control.api.unrecorded": "which facts are not recorded yet, for the installation's own processes alone",
    # local: the stack on one machine
    "stack.status": "status says where everything is, in the shape that scripts know",
    "stack.secrets": "what is secret is closed to others and stands in no log and no list of processes",
    "stack.restart": "a part that is killed comes back",
    "stack.second_up": "a second `up` in the same home is refused in one sentence",
    "stack.leaves_nothing": "`down` leaves no process; the second start takes at most 15 s and finds its data",
    "stack.killed_supervisor": "a killed supervisor takes its parts along, and `up` starts again",
    # tests/contract/test_shipper.py
    "facts.left_in_files": "Facts that a dead process left in a file are shipped in order, and the file goes when they are recorded.",
    "facts.young_or_locked": "A file in use and a fact on its way are left alone.",
    "facts.shipper_survives": "With control or Redis away facts wait in their files.",
    "facts.unreadable": "Lines that this version cannot read as facts are kept aside, not deleted.",
    "facts.journal_turns": "The webhook service begins a new file of facts now and then and loses none.",
    "facts.killed_writer": "A writer killed with -9 while Redis is away loses no fact.",
    # tests/contract/test_webhook_control.py
    "webhook.control": "Control serves personas to the webhook service and records its facts in order.",
    "webhook.facts_survive": "A webhook service killed while Redis is away loses no fact.",
    "webhook.files_go": "The file of facts of an ended service goes when they are recorded.",
    # agent
    "agent.greeting": "The welcome is heard when the line is active, and not before.",
    "agent.disclosure": "A disclosure is heard whole, and what the caller says meanwhile is answered after it.",
    "agent.ends_once": "A caller who hangs up ends the call: one call_ended fact, and the room goes.",
    "agent.closing": "The closing message is heard before the agent hangs up.",
    "agent.message": "A message that was taken is a fact.",
    "agent.turns": "A pause inside a sentence does not end the turn.",
    "agent.barge_in": "A caller who speaks up silences the agent; the log has what was heard of it.",
    "agent.backchannel": "A mhm or a cough is no turn, and nothing is lost or said twice.",
    "agent.silence": "A silent caller is asked once whether they are there; then the call ends.",
    "agent.length": "A call beyond the persona's length is warned of and ended.",
    "agent.keys": "Pressed keys are facts and reach the model as data.",
    "agent.one_talks": "Of several agents for one call the highest attempt stays, one of equals, and it alone talks.",
    "agent.ghost_room": "An agent that finds no caller leaves and deletes the empty room.",
    "agent.hostile_metadata": "Absent, malformed, partial or hostile metadata: the default persona and a fact.",
    "agent.flat_metadata": "A persona at top level, in the older spelling, is applied.",
    "agent.prompt_is_private": "Participants get nothing of the prompt.",
    "agent.text_of_others": "Text from anybody but the caller is not the caller's words.",
    "agent.model_fails": "A model that fails is an apology and an end with a reason, never silence.",
    "agent.admission": "A full worker refuses a job at once.",
    "agent.drain": "SIGTERM: running calls finish.",
    # tests/contract/test_deployment.py
    "deploy.livekit": "The LiveKit server takes livekit.yaml with compose's environment, and would refuse an unknown key.",
    "deploy.valkey": "Each process may do in Valkey what it has to, and nothing with the others' keys.",
    "deploy.valkey_closed": "Nobody reads Valkey without a password; a health check can only ask whether it lives.",
    # tests/contract/test_local_models.py, test_scripted_models.py
    "models.heard": "What the models server speaks it hears word for word, also through 8 kHz µ-law.",
    "models.heard_at_once": "Callers at once each get their own words; silence gets none.",
    "models.plugin": "LiveKit's openai plugin hears, speaks and thinks with the models server.",
    "models.plugin_error": "The plugin sees a refusal as a status at once.",
    "models.voices": "Every voice name speaks; OpenAI's names sound different.",
    "models.refusals": "Bad requests get one sentence in OpenAI's shape.",
    "models.busy_port": "A busy port ends a models server with one sentence and status 2.",
    "scripted.heard": "The scripted ear gives the true words, also mid-sentence, and none for noise, after 150 ms.",
    "scripted.times": "The scripted model and voice keep their times.",
    "scripted.reply": "The scripted model says or calls what it is told, and counts.",
    "scripted.tones": "Each process that asks the scripted voice gets a tone of its own.",
    "scripted.failures": "Each scripted part fails as told and works again.",
    # cli
    "trunk.add": "`trunk add` rings at most 30 s, gives each call its room, sends no agent, and lets nobody else in",
    "trunk.doctor": "the doctor names trunks that are open to everyone and rules that send agents by themselves",
    "cli.call": "`call` waits for the greeting, speaks, and says what was heard and how long each reply took",
    "cli.call_unanswered": "a call that is refused ends with status 1 and one sentence",
    "cli.call_play": "a WAV is played as it is",
    "cli.doctor": "the doctor finds nothing in a stack that is well, and names a part that is not",
    "cli.personas": "personas and numbers are listed, shown, added and removed from the command line",
    "cli.port_taken": "a port that is taken is replaced and told",
    "cli.part_fails": "a part that does not come up is named with its log, and everything is stopped",
    # whole calls
    "call.persona": "Each number is answered by its persona from its facts; another number by the default persona.",
    "call.log": "Every fact of a call is in Postgres once, in order, without gaps.",
    "call.message": "A message is taken in a spoken conversation with the bundled models.",
    "call.hold": "A call on hold is not asked whether anybody is there.",
    "call.browser": "A browser calls a number, and finds its call again after a reload.",
    "call.nobody": "No agent at all: rings, then 486.",
    "call.restarts": "A part killed with -9 comes back, and the next call is answered and recorded whole.",
}


def promise(name: str) -> Callable[[Test], Test]:
    """Marks the test that holds the promise `name`."""
    if name not in PROMISES:
        raise KeyError(f"{name} is not in tests/promises.py")
    return pytest.mark.promise(name)
