"""The embedded media edge: a watched camera is pulled once, and everybody is written the same bytes.

    source       which addresses may be a camera at all
    rtsp         RTSP without a socket: messages, credentials, the video track
    rtsp_proxy   talks to the camera (pinned address, credentials), gives ffmpeg a loopback address without either
    boxes        bytes of a fragmented MP4 -> init segment and fragments
    pull         the fan-out: init segment and current GOP are kept, every listener is told of every fragment
    camera_pull  the pull that reads the camera: one ffmpeg
    relay        the pull that reads another process of this machine, and what that process gives
    watched      which camera is pulled by whom: `Pulls.open()` is the way in
    hls          a playlist and segments that all viewers share
    snapshot     the newest key frame as JPEG

Nothing here knows the database, grants or viewers.
"""
