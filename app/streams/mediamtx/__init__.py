"""The MediaMTX gateway: WHEP, LL-HLS and RTSPS out of a MediaMTX (>= 1.19.3) that serves this center alone.

    config     where it is and what it takes, out of one URL; what its own configuration file must say
    api        its control API (v3), believed only within bounds
    paths      names that tell nothing; which paths it has, and that it has them again after a restart
    door       the RTSP address from which it pulls cameras: one video track, no credentials, no view no footage
    admission  its questions whether a player may play, and the views that are opened for them
    office     which of several processes looks after it
    watch      what it carries against what may be carried: kicked, counted, closed
    ghosts     sessions that no view stands for; how a session is made to go
    driver     `MediaMtx`: the Gateway that the rest of the house knows

MediaMTX asks before a player plays and counts what it sends; it never decides. It keeps nothing: what it has in memory
is told to it again after a restart.
"""

from app.streams.mediamtx.admission import MOST_BYTES
from app.streams.mediamtx.config import Config, callback_path, configuration
from app.streams.mediamtx.driver import MediaMtx

__all__ = ["MOST_BYTES", "Config", "MediaMtx", "callback_path", "configuration"]
