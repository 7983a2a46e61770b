"""The frames cache between processes: shared, and whole after a kill at any instant."""
import os, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest
from trainlab.media.frames import cached_frames, uniform_frames
from trainlab.media.samples import media_folder
from trainlab.media.video import probe, read_frames, stream_frames, write_video

LOAD = 'import sys; from trainlab.media.frames import cached_frames; print(int(cached_frames(sys.argv[1], n=60, folder=sys.argv[2]).array.sum()))'

@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 40, 3)).repeat(12, 0).repeat(12, 1).astype(np.uint8)
    return write_video(tmp_path_factory.mktemp('clip')/'clip.mp4', (np.roll(x, 3*i, 1) for i in range(150)), preset='ultrafast')

def start(clip, folder):
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, '-c', LOAD, str(clip), str(folder)], env=env, stdout=subprocess.PIPE, text=True)

def test_processes_share_one_decode(clip, tmp_path):
    jobs = [start(clip, tmp_path) for _ in range(4)]
    sums = {j.communicate(timeout=120)[0] for j in jobs}
    assert len(sums) == 1 and all(j.returncode == 0 for j in jobs)
    assert len(list(tmp_path.glob('*.npy'))) == 1 and not list(tmp_path.glob('.*'))

def test_killed_at_any_instant_leaves_nothing_torn(clip, tmp_path):
    want = read_frames(clip, uniform_frames(150, 60))
    rng = np.random.default_rng(1)
    for k in range(6):
        folder = tmp_path/str(k)
        job = start(clip, folder)
        while not folder.exists() and job.poll() is None: time.sleep(.005)      # decoding begins
        time.sleep(rng.uniform(0, .25))
        job.send_signal(signal.SIGKILL); job.wait()
        for file in folder.glob('[!.]*.npy'): assert (np.load(file) == want).all()
        assert (cached_frames(clip, n=60, folder=folder).array == want).all()
        assert not list(folder.glob('.*.npy'))

@pytest.mark.skipif(media_folder() is None, reason='the folder of real media is not here: set TRAINLAB_DATA')
@pytest.mark.parametrize('name', ['carphone.mp4', 'faces_short.mp4', 'moon.avi', 'asl_again.mkv', 'bigbuckbunny.mp4'])
def test_chosen_frames_of_real_files_are_exact(name):
    video = probe(media_folder()/'video'/name)
    chosen = uniform_frames(video.frames, 9)
    frames = dict(zip(chosen.tolist(), read_frames(video, chosen)))
    count = 0
    for i, x in enumerate(stream_frames(video.path)):
        count += 1
        if i in frames: assert (frames[i] == x).all(), i
    assert count == video.frames
