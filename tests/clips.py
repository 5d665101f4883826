"""Clips for tests, encoded when they run."""

from fractions import Fraction

import av
import numpy as np


def picture(index, height=48, width=64):
    """Red on top, green on the left, and a grey that tells the frame."""
    rgb = np.full((height, width, 3), 40 + index * 5 % 160, np.uint8)
    rgb[: height // 6], rgb[height // 4 :, : width // 8] = (250, 0, 0), (0, 250, 0)
    return rgb


def write_clip(
    path, *, pts=range(12), rate=25, time_base=None, size_wh=(64, 48), codec="libx264", turn=None, audio=None, **options
):
    """Encode one frame per pts. `turn` is (degrees counter-clockwise, mirrored); `audio`: a codec."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options={key: str(value) for key, value in options.items()})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        if time_base is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        if turn is not None:
            stream.set_display_rotation(turn[0], hflip=turn[1])
        sound = output.add_stream(audio, rate=44100) if audio else None
        for index, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(picture(index, size_wh[1], size_wh[0]), format="rgb24")
            frame.pts, frame.time_base = stamp, time_base or Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            write_sound(output, sound)
    return path


def write_sound(output, stream, seconds=2):
    tone = (np.sin(np.arange(44100 * seconds) / 20) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = 44100, 0
    context = stream.codec_context
    resampler = av.AudioResampler(context.format, context.layout, 44100, context.frame_size or 1024)
    for part in [*resampler.resample(frame), *resampler.resample(None), None]:
        output.mux(stream.encode(part))


def write_audio_only(path, codec="aac"):
    with av.open(str(path), "w") as output:
        write_sound(output, output.add_stream(codec, rate=44100))
    return path
