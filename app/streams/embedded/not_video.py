"""Why what a camera sends cannot be shown, or not as what it was so far."""


class NotVideo(ValueError):  # noqa: N818 - it says what came
    """What came is no video that can be carried; the words are for people and hold nothing of the camera's own."""


class FormatChanged(Exception):  # noqa: N818 - it says what happened
    """What comes from here on is described anew, and ffmpeg would go on with the old description."""
