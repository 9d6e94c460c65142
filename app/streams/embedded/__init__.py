"""The embedded media edge: a watched camera is pulled once, and everybody is written the same bytes.

Reading a camera:

    connection       to the pinned address, with TLS where it is asked for
    rtsp             RTSP without a socket: messages, credentials, the video track
    rtsp_proxy       talks RTSP with the camera, gives ffmpeg a loopback address without address or credentials
    http_camera      the same over HTTP: `containers`, `transport_stream`, `motion_jpeg` are what may come,
                     `not_video` what may not (a playlist is not a camera)
    boxes            bytes of a fragmented MP4 -> init segment and fragments
    parameter_sets   whether the picture is still the one that the init segment describes
    camera_pull      the pull that reads the camera: one ffmpeg
    relay            the pull that reads another process of this machine, and what that process gives
    pull             what both are: init segment and current GOP are kept, listeners are told of every fragment
    watched          which camera is pulled by whom: `Pulls.open()` is the way in; `watched_camera`, `turns` try a
                     lost one again, one process of the machine at a time
    outages          lost and restored cameras, told to the event ledger

Giving it to viewers:

    channels         a camera's picture as its viewers know it, across pulls; `audience` writes to those of one kind
    progressive, mse, hls, snapshot   the kinds
    player           one viewer, and how it ends
    running          the players of this process: opened, asked again, cut, closed
    edge             the gateway that the rest of the house knows
"""
