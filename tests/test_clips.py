"""Many clips in one process, and a cache that others write to meanwhile."""
import os, subprocess, sys
from pathlib import Path
import numpy as np, pytest
from trainlab.media.clips import Clip, list_clips, train_clips
from trainlab.media.frames import Frames
from trainlab.media.video import MediaError, write_video

HERE = Path(__file__).parent
DRAW = '''
import os, pickle, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
import numpy as np
from trainlab.engine.loader import MicroBatches
from trainlab.engine.plan import Sample
from trainlab.video_vae.data import VideoSource
from torch.utils.data import DataLoader
clips = pickle.load(open(sys.argv[1], 'rb'))
source = VideoSource(clips, 8, 4)
for workers in (0, 2):
    requests = [('a', (Sample(int(i), int(k)),)) for k, i in enumerate(np.random.default_rng(0).permutation(len(source)))]
    made = DataLoader(MicroBatches(dict(a=source)), batch_size=None, sampler=requests, num_workers=workers)
    total = sum(int(m.batch[0].sum()) for m in made)
    print(len(requests), total, len(os.listdir('/proc/self/fd')))
'''

def child(code, *args, timeout=300):
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], env=env, capture_output=True, text=True, timeout=timeout)

def test_3000_clips_with_256_open_files(tmp_path):
    import pickle
    np.save(tmp_path/'kept.npy', np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8))
    for k in range(3000): os.link(tmp_path/'kept.npy', tmp_path/f'{k}.npy')
    clips = [Clip(f'{k}', Frames(f'{k}.mp4', tmp_path/f'{k}.npy', np.arange(8), 8, (8, 16, 16, 3))) for k in range(3000)]
    (tmp_path/'clips.pkl').write_bytes(pickle.dumps(clips))
    done = child(DRAW, tmp_path/'clips.pkl')
    assert done.returncode == 0, done.stderr[-3000:]
    (n, total, alone), (m, again, beside) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert n == m == 3000 and total == again > 0 and alone < 64 and beside < 128, done.stdout

def film(path, shift=0, n=30):
    x = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    return write_video(path, (np.roll(x, i + shift, 1) for i in range(n)), preset='ultrafast')

def test_a_cache_cut_off_under_a_live_run_is_an_error_and_made_anew(tmp_path):
    film(tmp_path/'clips'/'a.mp4')
    files = list_clips(tmp_path/'clips')
    clip, = train_clips(files, 4, folder=tmp_path/'cache')
    before, file = clip[:], clip.frames.file
    whole = file.read_bytes()
    os.truncate(file, 5000)
    with pytest.raises(MediaError, match='was cut off while it was in use. Start the same again'): clip[20:24]
    file.unlink()
    with pytest.raises(MediaError, match='cannot be read any more'): clip[0]
    for damage in (whole[:-1], whole[:700] + bytes([whole[700] ^ 1]) + whole[701:], b''):
        file.write_bytes(damage)
        again, = train_clips(list_clips(tmp_path/'clips'), 4, folder=tmp_path/'cache')
        assert again.frames.file == file and (again[:] == before).all() and file.read_bytes()[:-8] == whole[:-8]

def test_data_is_known_by_its_content(tmp_path):
    for k in range(4): film(tmp_path/'clips'/f'{k}.mp4', k)
    files = list_clips(tmp_path/'clips')
    assert files.contents == list_clips(f'{tmp_path/"clips"}/').contents
    (tmp_path/'clips').rename(tmp_path/'moved')
    moved = list_clips(tmp_path/'moved')
    assert moved.contents == files.contents
    x = bytearray((tmp_path/'moved'/'2.mp4').read_bytes()); x[len(x)//2] ^= 1
    stat = (tmp_path/'moved'/'2.mp4').stat(); (tmp_path/'moved'/'2.mp4').write_bytes(x); os.utime(tmp_path/'moved'/'2.mp4', ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed = list_clips(tmp_path/'moved').contents['train']                    # of the same size and time
    assert [k for k in changed if changed[k] != files.contents['train'][k]] == ['2.mp4']

def test_a_grown_folder_keeps_the_numbers_of_its_old_files(tmp_path):
    from trainlab.video_vae.data import sources
    for name in 'bdf': film(tmp_path/'clips'/f'{name}.mp4', ord(name))
    before = list_clips(tmp_path/'clips')
    old = sources(before, {'8x4': (8, 4)}, side=0)['8x4']
    for name in 'ace': film(tmp_path/'clips'/f'{name}.mp4', ord(name))
    new = sources(list_clips(tmp_path/'clips').reordered(before.contents), {'8x4': (8, 4)}, side=0)['8x4']
    assert [c.name for c in new.clips] == [*'bdface']
    for i in range(len(old)):
        a, b = (s.item(i, np.random.default_rng(i))[0] for s in (old, new))
        assert (a == b).all() and old.describe(i, np.random.default_rng(i)) == new.describe(i, np.random.default_rng(i))

def test_grown_sounds_keep_their_side_and_their_numbers(tmp_path):
    from trainlab.audio_vae.data import SoundSource, list_sounds, split, tracks
    from trainlab.media.audio import write_audio
    sound = lambda k: write_audio(tmp_path/'set'/f'{k:02}.wav', np.random.default_rng(k).standard_normal(9000)*.1, 8000)
    for k in range(0, 40, 2): sound(k)
    before = list_sounds(tmp_path/'set')
    train, held = split(before, tracks(before))
    for k in range(1, 40, 2): sound(k)
    after = list_sounds(tmp_path/'set').reordered(before.contents)
    more, judged = split(after, tracks(after))
    assert [r.name for r in more][:len(train)] == [r.name for r in train] and {r.name for r in held} <= {r.name for r in judged}
    old, new = SoundSource(train, 500), SoundSource(more, 500)
    for i in range(len(old)): assert (old.item(i, np.random.default_rng(i))[0] == new.item(i, np.random.default_rng(i))[0]).all()

@pytest.mark.slow
def test_3000_clips_from_their_files(script): assert 'open files' in script('bench/bench_clips.py', '--clips', 3000, '--starts', 2)
