"Data as tasks: workers and the one who asks are killed at random instants; called again, the tree is the same, byte for byte."
import hashlib, os, random, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest
from trainlab.media.video import write_video
from trainlab.run.config import configure
from trainlab.video_vae.encode import encode
from trainlab.video_vae.train import Config, train
from trainlab.vsr.prepare import prepare

SETTINGS = dict(formats=['small_540', 'medium_169'], frames=[5, 7], samples=4)
PREPARE = f"import sys; from trainlab.vsr.prepare import prepare; prepare(sys.argv[1], sys.argv[2], at_once=2, **{SETTINGS!r})"

ENCODE = "import sys; from trainlab.video_vae.encode import encode; encode(*sys.argv[1:], side=256, device='cpu', window=2, at_once=2)"


def tree(folder):
    "What a folder holds: a hash for each file."
    files = (p for p in sorted(folder.rglob('*')) if p.is_file() and p.suffix != '.lock')
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

def children(pid):
    try: return [int(x) for x in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError: return []

def disturbed(code, arguments, kills, seed, least, most):
    "Start a program anew until it ends by itself, killing it or one of its children as often as said; how often that was."
    draw, done = random.Random(seed), dict(parent=0, worker=0)
    while True:
        asking, who = subprocess.Popen([sys.executable, '-c', code, *map(str, arguments)]), draw.choice(['parent', 'worker'])
        end = time.monotonic() + draw.uniform(least, most)
        if sum(done.values()) >= kills: who = ''
        while asking.poll() is None and (not who or time.monotonic() < end): time.sleep(.01)
        if asking.poll() is not None: assert asking.returncode == 0; return done
        if who == 'worker' and (found := children(asking.pid)):
            try: os.kill(draw.choice(found), signal.SIGKILL); done['worker'] += 1
            except ProcessLookupError: pass
            time.sleep(draw.uniform(0, .3))
        asking.kill(); asking.wait(); done['parent'] += 1

@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    folder, y, x = tmp_path_factory.mktemp('videos'), *np.mgrid[:560, :720]
    for k in range(3):
        frames = (np.stack([96 + 60*np.sin((x + 3*i)/(9 + k)), 128 + 60*np.cos((y - i)/7), 128 + 0*x], -1).astype(np.uint8) for i in range(26))
        write_video(folder/f'{k}.mp4', frames, preset='ultrafast')
    return folder

@pytest.fixture(scope='module')
def alone(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp('alone'); prepare(videos, folder, **SETTINGS); return tree(folder)

def check(videos, alone, folder, kills, seed):
    done = disturbed(PREPARE, [videos, folder], kills, seed, .2, 1.6)
    assert tree(folder) == alone and len(alone) == 3*(2*4*3 + 2) + 1, sorted(set(tree(folder)) ^ set(alone)); return done

def test_killed_and_called_again_the_tree_is_the_same(videos, alone, tmp_path): check(videos, alone, tmp_path, 6, 0)

def check_latents(videos, folder, kills):
    tiny = dict(name='vae', root=str(folder), steps=4, warmup=1, resolution=32, frames=5, batch_size=1, size='small', preview_every=0)
    run, there = train(configure(Config, tiny)), folder/'there'; encode(run, videos, folder/'alone', side=256, device='cpu', window=2)
    done = disturbed(ENCODE, [run.path, videos, there], kills, 1, 4., 12.)
    assert tree(there) == tree(folder/'alone') and len(tree(there)) == 3; return done

def test_latents_of_killed_encoders_are_the_same(videos, tmp_path): check_latents(videos, tmp_path, 2)

@pytest.mark.slow
def test_latents_of_many_killed_encoders(videos, tmp_path): assert sum(check_latents(videos, tmp_path, 20).values()) >= 4

@pytest.mark.slow
def test_killed_a_hundred_times(videos, alone, tmp_path):
    kills = dict(parent=0, worker=0)
    for k in range(20): kills = {n: v + kills[n] for n, v in check(videos, alone, tmp_path/str(k), 5, k).items()}
    print(kills); assert sum(kills.values()) >= 60
