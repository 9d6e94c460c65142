"""One camera's picture at a moment: the street, what moves in it, the name, a running clock and the frame counter."""

from datetime import UTC, datetime, timedelta, timezone
from zlib import crc32

from app.demo.simulator import counter, font, light, street, traffic
from app.demo.simulator.camera import SimulatedCamera
from app.demo.simulator.canvas import Canvas

KOREA = timezone(timedelta(hours=9))
_INK, _PAPER = 220, 26  # luma of captions
_BAND = (12, 12, 12)  # the colour behind them
_WIDE = 640  # from this width on captions are twice as large


class Picture:
    """Paints the frames of one camera.

    Only rows that change are painted again, so that a frame costs a fraction of a millisecond.
    """

    def __init__(self, camera: SimulatedCamera) -> None:
        self._camera = camera
        self._seed = crc32(camera.path.encode())
        self._scale = 2 if camera.width >= _WIDE else 1
        self._bottom = camera.height - counter.lines(camera.width) * counter.CELL_PIXELS  # of the street
        self._light: light.Light | None = None
        self._still = Canvas(camera.width, camera.height)
        self._canvas = Canvas(camera.width, camera.height)
        self._moving_from = int(traffic.TOP * self._bottom / street.DESIGN_ROWS) & ~1
        self._movers: list[traffic.Mover] = []

    def frame(self, number: int) -> bytearray:
        """Frame `number` = floor(unix time * frames per second) as yuv420p; the next call paints over these bytes."""
        seconds = number / self._camera.frames_per_second
        at = datetime.fromtimestamp(seconds, UTC).astimezone(KOREA)
        now = light.at_hour(at.hour)
        if now is not self._light:
            self._paint_still(now)
        canvas = self._canvas
        canvas.restore(self._still, self._moving_from, self._bottom)
        for mover in self._movers:
            mover.draw(canvas, seconds)
        clock = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 100_000} KST"
        text = font.luma_rows(clock, self._scale, _INK, _PAPER)
        canvas.paste_luma(canvas.width - len(text[0]) - 4, 2 * self._scale + 1, text)
        canvas.paste_luma(0, self._bottom, counter.luma_rows(number, canvas.width))
        return canvas.pixels

    def _paint_still(self, now: light.Light) -> None:
        still, camera = self._still, self._camera
        street.paint(still, self._seed, now, self._bottom)
        band = (font.ROWS + 3) * self._scale
        still.fill(0, 0, camera.width, band, _BAND)
        still.fill(4, 3 * self._scale, 4 * self._scale, 6 * self._scale, street.accent(self._seed))
        still.paste_luma(
            6 + 6 * self._scale, 2 * self._scale + 1, font.luma_rows(camera.name, self._scale, _INK, _PAPER)
        )
        still.fill(0, self._bottom, camera.width, camera.height - self._bottom, _BAND)
        left = counter.columns(camera.width) * counter.CELL_PIXELS + 12
        note = font.luma_rows("SIMULATED CAMERA", self._scale, 130, _PAPER)
        if left + len(note[0]) <= camera.width:
            still.paste_luma(left, self._bottom + (camera.height - self._bottom - len(note)) // 2 + 1, note)
        self._movers = traffic.movers(self._seed, now, camera.width, self._bottom)
        self._canvas.pixels[:] = still.pixels
        self._light = now
