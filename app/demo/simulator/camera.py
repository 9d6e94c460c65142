"""What a simulated camera is."""

from dataclasses import dataclass

SMALLEST_WIDTH, SMALLEST_HEIGHT = 320, 180
LARGEST_RATE = 60


@dataclass(frozen=True)
class SimulatedCamera:
    """A camera of the simulator: `path` is its mount below the server, `name` the ASCII caption burnt into its picture.

    With a `login` it demands Digest (and takes Basic too). With `audio` its SDP also offers a PCMU track that really
    sounds, so that one can prove that sound never passes a gateway. Sizes in pixels, the rate in frames per second.
    """

    path: str
    name: str
    login: str = ""
    password: str = ""
    width: int = 640
    height: int = 360
    frames_per_second: int = 10
    audio: bool = False

    def __post_init__(self) -> None:
        if not self.path or self.path != self.path.strip("/ ") or any(c in self.path for c in " ?#\r\n"):
            raise ValueError(f"path {self.path!r}: expected something like 'cam/0012'")
        if not self.name.isascii() or not self.name.isprintable():
            raise ValueError(f"name {self.name!r}: the burnt-in font knows printable ASCII only")
        if self.width < SMALLEST_WIDTH or self.height < SMALLEST_HEIGHT or self.width % 2 or self.height % 2:
            raise ValueError(
                f"{self.width}x{self.height}: expected even and at least {SMALLEST_WIDTH}x{SMALLEST_HEIGHT}"
            )
        if not 1 <= self.frames_per_second <= LARGEST_RATE:
            raise ValueError(f"{self.frames_per_second} frames per second: expected 1 to {LARGEST_RATE}")
