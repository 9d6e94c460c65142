"""Why what a camera sends cannot be shown."""


class NotVideo(ValueError):  # noqa: N818 - it says what came
    """What came is no video that can be carried; the words are for people and hold nothing of the camera's own."""
