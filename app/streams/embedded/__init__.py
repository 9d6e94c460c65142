"""The embedded media edge: a watched camera is pulled once, and everybody is written the same bytes.

    rtsp_proxy   talks RTSP to the camera (pinned address, credentials), hands ffmpeg a loopback address without either
    pull         one ffmpeg per watched camera: RTSP in, fragments out; init segment and current GOP are kept
    relay        of several worker processes one pulls, the others read its fragments from a unix socket
    boxes        bytes of a fragmented MP4 -> init segment and fragments
    hls          a playlist and segments that all viewers share
    snapshot     the newest key frame as JPEG
    source       which addresses may be a camera at all

Nothing here knows the database, grants or viewers.
"""
