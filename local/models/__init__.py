"""Speech to text, text to speech and chat on this machine, behind OpenAI's HTTP API, with no key."""
