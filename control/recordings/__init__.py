"""Recordings of calls: what is known of them, who hears them, how they are paused, and when they go."""
