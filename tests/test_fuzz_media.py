"""Damaged videos, pictures and sounds: a clear error or what is still there, never a crash, a hang, a raw error or a bomb.

    pytest tests/test_fuzz_media.py              # a sample
    pytest tests/test_fuzz_media.py -m slow -s   # 1,500 of them
"""
import io, json, os, struct, subprocess, sys, wave
from pathlib import Path
import av, numpy as np, pytest, soundfile
from PIL import Image
from trainlab.media.video import write_video

CHILD = '''
import json, os, resource, sys, time, warnings
from pathlib import Path
warnings.simplefilter('ignore')
import av, numpy as np, soundfile, soxr
from trainlab.media.audio import probe_audio, read_audio
from trainlab.media.cache import content
from trainlab.media.files import probe_once
from trainlab.media.frames import cached_frames
from trainlab.media.video import MediaError, probe, read_frames, read_image, stream_frames
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
cache = sys.argv[2]

def peak():
    status = Path('/proc/self/status')              # ru_maxrss would begin with what the parent had
    line = next((x for x in status.read_text().splitlines() if x.startswith('VmHWM')), '') if status.exists() else ''
    return int(line.split()[1]) >> 10 if line else 0

def video(p):
    v = probe_once(p, cache)
    cached_frames(v, 4, folder=cache)[:]
    for _ in zip(range(40), stream_frames(p)): pass
def picture(p): read_image(p, background=(0, 0, 0))
def sound(p): read_audio(p)
def run(p, f):
    begun = time.perf_counter()
    try: f(p); said = 'read'
    except MediaError as e: said = 'refused' if p.name.encode(errors='backslashreplace').decode() in str(e) else f'without the name: {e}'
    except Exception as e: said = f'RAW {type(e).__name__}: {e}'
    print(json.dumps([p.name, f.__name__, said[:300], round(time.perf_counter() - begun, 2), peak()]), flush=True)

KINDS = dict(video=video, picture=picture, sound=sound)
for p in sorted(Path(sys.argv[1]).iterdir()): run(p, KINDS[p.name.split('-')[0]])
'''

def moving(folder: Path):
    "(kind, suffix, bytes) of whole files to damage."
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 16, 3)).repeat(6, 0).repeat(6, 1).astype(np.uint8)
    frames = [np.roll(x, 2*i, 1) for i in range(20)]
    tone = (.3*np.sin(np.arange(16000)*.2)).astype(np.float32)
    for suffix in ('.mp4', '.mkv', '.mov'): yield 'video', suffix, write_video(folder/f'v{suffix}', frames, preset='ultrafast').read_bytes()
    for suffix, codec in (('.mpg', 'mpeg2video'), ('.avi', 'mpeg4'), ('.webm', 'libvpx'), ('.ts', 'mpeg2video')):
        with av.open(str(folder/f'v{suffix}'), 'w') as out:
            s = out.add_stream(codec, rate=25); s.height, s.width, s.pix_fmt = *x.shape[:2], 'yuv420p'
            for f in frames: out.mux(s.encode(av.VideoFrame.from_ndarray(f, format='rgb24')))
            out.mux(s.encode())
        yield 'video', suffix, (folder/f'v{suffix}').read_bytes()
    for suffix in ('.png', '.jpg', '.webp', '.bmp', '.tif', '.gif'):
        Image.fromarray(x).save(folder/f'p{suffix}'); yield 'picture', suffix, (folder/f'p{suffix}').read_bytes()
    for suffix in ('.wav', '.flac', '.ogg', '.mp3', '.aiff'):
        soundfile.write(folder/f's{suffix}', tone, 16000); yield 'sound', suffix, (folder/f's{suffix}').read_bytes()
    with av.open(str(folder/'s.m4a'), 'w') as out:
        s = out.add_stream('aac', rate=16000, layout='mono')
        f = av.AudioFrame.from_ndarray(tone[None], format='fltp', layout='mono'); f.rate = 16000
        out.mux(s.encode(f)); out.mux(s.encode())
    yield 'sound', '.m4a', (folder/'s.m4a').read_bytes()

def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    "Bits turned, fields set to extremes, parts cut out, doubled or at the end, mostly near the header."
    x = bytearray(whole)
    for _ in range(int(rng.integers(1, 9))):
        head = rng.random() < .6
        at = int(rng.integers(min(len(x), 400) if head else len(x)))
        match int(rng.integers(6)):
            case 0: x[at] ^= 1 << int(rng.integers(8))
            case 1: x[at:at + 4] = bytes(4) if rng.random() < .5 else b'\xff\xff\xff\x7f'
            case 2: x[at:at + 2] = rng.bytes(2)
            case 3: del x[at:at + int(rng.integers(1, 64))]
            case 4: x[at:at] = x[at:at + int(rng.integers(1, 64))]
            case 5 if not head: del x[at:]
        if len(x) < 8: break
    return bytes(x)

def bombs(folder: Path) -> None:
    "Small files that promise much, and one that is large."
    def png(w, h, bits, kind):
        import zlib
        chunk = lambda tag, data: struct.pack('>I', len(data)) + tag + data + struct.pack('>I', zlib.crc32(tag + data))
        row = zlib.compress(bytes(1 << 20))
        return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, bits, kind, 0, 0, 0)) + chunk(b'IDAT', row) + chunk(b'IEND', b'')
    for w, h, bits in ((12000, 12000, 16), (100_000, 100_000, 8), (16384, 16384, 8), (0, 5, 8)): (folder/f'picture-bomb-{w}-{bits}.png').write_bytes(png(w, h, bits, 2))
    Image.new('RGB', (16384, 16384)).save(folder/'picture-large.png', compress_level=1)
    sound = io.BytesIO()
    with wave.open(sound, 'wb') as f: f.setnchannels(1); f.setsampwidth(2); f.setframerate(1); f.writeframes(bytes(32000))
    (folder/'sound-one-hertz.wav').write_bytes(sound.getvalue())
    soundfile.write(folder/'sound-claims.flac', np.zeros(8000), 8000); x = bytearray((folder/'sound-claims.flac').read_bytes())
    x[21] |= 15; x[22:26] = b'\xff'*4; (folder/'sound-claims.flac').write_bytes(x)      # 2^36 samples
    (folder/'video-picture.mp4').write_bytes(png(100_000, 100_000, 8, 2))
    os.mkfifo(folder/'video-pipe.mp4'); os.mkfifo(folder/'picture-pipe.png'); os.mkfifo(folder/'sound-pipe.wav')
    (folder/os.fsdecode(b'video-caf\xe9.mp4')).write_bytes(b'x'); (folder/('video-' + 'n'*240 + '.mp4')).write_bytes(b'x')
    (folder/'video-list.mp4').write_text('#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n')

def checked(folder: Path, cache: Path, timeout: int) -> list:
    "What a process said of each; it has 6 GB, and must neither crash nor hang."
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-c', CHILD, str(folder), str(cache)], env=env, capture_output=True, text=True, timeout=timeout, errors='replace')
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, rows[-1:], done.stderr[-2000:])
    bad = [r for r in rows if r[2] not in ('read', 'refused')]
    assert not bad, '\n'.join(map(str, bad[:20]))
    assert max(r[3] for r in rows) < 30 and max(r[4] for r in rows) < 1000, max(rows, key=lambda r: r[4])
    return rows

def fuzz(tmp_path: Path, n: int, seed: int, timeout: int) -> list:
    (tmp_path/'whole').mkdir(); (tmp_path/'bad').mkdir()
    whole, rng = list(moving(tmp_path/'whole')), np.random.default_rng(seed)
    for k in range(n):
        kind, suffix, data = whole[k % len(whole)]
        (tmp_path/'bad'/f'{kind}-{k:05d}{suffix}').write_bytes(damaged(data, rng))
    rows = checked(tmp_path/'bad', tmp_path/'cache', timeout)
    assert len(rows) == n
    return rows

def test_bombs_and_pipes(tmp_path):
    (tmp_path/'bad').mkdir(); bombs(tmp_path/'bad')
    rows = {r[0]: r[2] for r in checked(tmp_path/'bad', tmp_path/'cache', 60)}
    assert set(rows.values()) == {'refused'}, rows

def test_damaged_media_sample(tmp_path): fuzz(tmp_path, 114, 1, 120)

@pytest.mark.slow
def test_damaged_media(tmp_path):
    rows = fuzz(tmp_path, 1500, 2, 900)
    share = sum(r[2] == 'read' for r in rows)/len(rows)
    print(f'{len(rows)} damaged files: {share:.0%} could still be read, the others were refused; longest {max(r[3] for r in rows)} s, memory {max(r[4] for r in rows)} MB')
