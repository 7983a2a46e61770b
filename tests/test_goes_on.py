"What people do with a run of super-resolution on a folder of videos: move it, add to it, go on, branch off, look back."
import os, shutil, time
import numpy as np, pytest, torch
from fastai.callback.core import Callback
from trainlab.media.video import write_video
from trainlab.replay.again import replay
from trainlab.replay.past import at
from trainlab.run.config import configure
from trainlab.run.folder import RunError
from trainlab.run.weights import Weights
from trainlab.vsr.train import system as vsr


def film(k: int):
    y, x = np.mgrid[:64, :80]
    for t in range(20): yield np.stack([127 + 90*np.sin((x + (k + 1)*t)/(7 + k)), 127 + 90*np.cos((y - t)/(9 + k)), (2*x + 3*y + 5*t) % 256], -1).astype(np.uint8)


@pytest.fixture
def home(tmp_path):
    for k in range(3): write_video(tmp_path/'films'/f'clip_{k}.mp4', film(k), preset='ultrafast')
    return tmp_path


def config(home, **kw):
    told = dict(root=str(home/'runs'), data=str(home/'films'), frames=3, crop=16, num_blocks=3, base_channels=24, batch_size=2, steps=6, warmup=0, schedule='constant',
                save_every=2, preview_every=0, log_every=1, device='cpu', keep=0, previews=0, lr=1e-3)
    return configure(vsr.config, told | kw)


def weights(run): return Weights(run.path).tensors()
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Seen(Callback):
    "Keeps every batch."
    def __init__(self): self.batches = {}
    def before_backward(self): self.batches.setdefault(self.learn.planned.step, []).append([x.clone() for x in (*self.learn.xb, *self.learn.yb)])
    def state_dict(self): return {}


def test_a_folder_that_moves_continues(home):
    vsr.train(config(home, name='stays', steps=4)); stays = vsr.train(config(home, name='stays', steps=6))
    vsr.train(config(home, name='moves', steps=4))
    os.rename(home/'films', home/'elsewhere')
    moves = vsr.train(config(home, name='moves', data=str(home/'elsewhere') + '/', steps=6))
    assert same(weights(stays), weights(moves)) and [c.changed for c in moves.chapters] == [[], ['steps: 4 -> 6']]


def test_a_folder_that_grew_is_named_file_by_file_and_goes_on_when_meant(home):
    run = vsr.train(config(home, name='grows', steps=4))
    write_video(home/'films'/'a_new.mp4', film(5), preset='ultrafast'); (home/'films'/'clip_1.mp4').unlink()
    with pytest.raises(RunError, match='clip_1.mp4: gone\n  a_new.mp4: added') as e: vsr.train(config(home, name='grows'))
    assert 'amend=True' in str(e.value)
    run = vsr.train(config(home, name='grows', amend=True))
    assert list(run.chapters[-1].data['train']) == ['clip_0.mp4', 'clip_2.mp4', 'a_new.mp4']          # old ones keep their place
    assert len(run.records('train')) == 6 and run.records('chapter').step.tolist() == [4]
    with pytest.raises(RunError, match='clip_1.mp4: gone'): at(run, 2).batch
    assert len(at(run, 5).samples) == 2


def test_a_file_of_the_same_size_with_other_content_is_noticed(home):
    run = vsr.train(config(home, name='swapped', steps=4)); path = home/'films'/'clip_1.mp4'; content = bytearray(path.read_bytes())
    content[-9] ^= 1; path.write_bytes(content)
    with pytest.raises(RunError, match='clip_1.mp4: its content changed'): vsr.train(config(home, name='swapped'))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_step_shows_what_it_trained_on_and_runs_again_to_the_bit(home, workers):
    seen = Seen()
    vsr.train(config(home, name='looked', steps=4, workers=workers), cbs=[seen])
    run = vsr.train(config(home, name='looked', steps=8, workers=workers, lr=1e-4, batch_size=1, gradient_accumulation=2, amend=True), cbs=[seen])
    for step in range(8):
        for mine, theirs in zip(at(run, step).batches, seen.batches[step], strict=True): assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    began = time.perf_counter(); table = at(run, 7).samples; took = time.perf_counter() - began
    assert {'file', 'item', 'key'} <= set(table.columns) and took < 5
    assert replay(run, 1, 8).equal == 7
    assert len(at(run, 5).losses()) == 2


def test_a_fork_goes_its_own_way_and_outlives_its_parent(home):
    parent = vsr.train(config(home, name='parent'))
    fork = dict(root=str(home/'runs'), fork_from=f'{parent.path}@4', device='cpu')
    twin = vsr.train(configure(vsr.config, fork | dict(name='twin')))
    assert same(weights(parent), weights(twin)) and twin.config.data == str(home/'films')
    lower = vsr.train(configure(vsr.config, fork | dict(name='lower', lr=1e-5)))
    assert not same(weights(parent), weights(lower)) and lower.chapters[-1].changed == ['lr: 0.001 -> 1e-05']
    assert all(torch.equal(a, b) for a, b in zip(at(parent, 5).batch, at(lower, 5).batch))
    shutil.rmtree(parent.path)
    longer = vsr.train(configure(vsr.config, fork | dict(name='lower', lr=1e-5, steps=8)))
    assert len(longer.records('train')) == 8
