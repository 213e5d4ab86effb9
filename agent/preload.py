"""Loaded once where job processes are forked from, so that a call starts with all of it in memory, shared."""

from livekit.local_inference import init_vad

from agent import call, facts

__all__ = ["call"]

facts.load()
init_vad()
