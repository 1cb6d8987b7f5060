"""How long something takes, as a clock shows it."""


def clock(seconds: float) -> str:
    """Seconds as 0:26, 12:05 or 3:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
