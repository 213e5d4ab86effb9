"""What callers of end-to-end tests say."""

from local.models import sound, voice
from local.phone.outgoing import OutgoingCall


async def say(call: OutgoingCall, text: str) -> None:
    """Returns when it has been said."""
    wide = sound.to_signal(await voice.synthesise(text, "flite:rms"))
    await call.speak(sound.to_samples(sound.resample(wide, voice.RATE, 8_000)))
