"A system of one's own, as CONTRIBUTING.md shows it: few lines, and all that the shipped ones can do."
import signal, subprocess, sys
from pathlib import Path
import numpy as np, own_system, pytest, torch
from own_system import Config, load_model, system, train
from trainlab.media.video import write_video
from trainlab.run.checkpoint import read_checkpoint
from trainlab.run.config import ParameterError, configure
from trainlab.system import load

FILE = Path(own_system.__file__)
TINY = dict(steps=24, size=16, batch_size=2, save_every=10, preview_every=12)
KILLED = '''
import os, signal, sys, time
from fastai.callback.core import Callback
from own_system import Config, train
from trainlab.run.config import configure

class Kill(Callback):
    def after_step(self):
        if self.learn.planned.step == 16:
            time.sleep(.5)          # the checkpoint of step 10 is on disk
            os.kill(os.getpid(), signal.SIGKILL)

train(configure(Config, eval(sys.argv[1])), cbs=[Kill()])
'''


@pytest.fixture(scope='module')
def root(tmp_path_factory): return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def run(root): return train(told(root))


def told(root, **values): return configure(Config, TINY | dict(root=str(root)) | values)


def test_it_is_short():
    lines = [line for line in FILE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 40 and max(map(len, lines)) <= 120


def test_contributing_shows_it():
    block = f'<!-- tests/own_system.py -->\n```python\n{FILE.read_text()}```'
    assert block in (FILE.parent.parent/'CONTRIBUTING.md').read_text()


def test_it_learns_and_is_drawn(root, run):
    assert run.scores().columns.tolist() == ['loss', 'psnr', 'psnr_noisy']
    assert [p.stem for p in run.previews()] == ['china', 'coffee', 'motorcycle', 'roofs']
    longer = train(told(root, name='longer', steps=120, preview_every=0)).scores().iloc[0]
    assert longer.psnr > longer.psnr_noisy + .5


def test_it_is_loaded_by_itself_and_by_anyone(run):
    mine, cfg = load_model(run.path)
    theirs, _ = load(run.path)
    assert cfg == run.config and system.name == 'own_system:system' and run.info['system'] == system.name
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in mine.state_dict().items())


def test_killed_it_continues_bit_for_bit(root, run):
    values = TINY | dict(root=str(root), name='killed')
    done = subprocess.run([sys.executable, '-c', KILLED, repr(values)], cwd=FILE.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    killed = train(configure(Config, values))
    assert killed.info['history'][1]['from_step'] == 10
    (kept, _), (found, _) = (read_checkpoint(r.checkpoints.newest()) for r in (run, killed))
    assert kept.keys() == found.keys()
    assert all(torch.equal(v, found[file][k]) for file in kept for k, v in kept[file].items())
    losses, again = (r.records('train').loss.tolist() for r in (run, killed))
    assert losses == again and len(losses) == TINY['steps']


def test_it_trains_on_a_folder_of_videos_with_workers(root):
    rng, folder = np.random.default_rng(0), root/'videos'
    for name in 'abc': write_video(folder/f'{name}.mp4', rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8), preset='ultrafast')
    run = train(told(root, name='folder', data=str(folder), valid=['b.mp4'], workers=2, steps=4))
    assert [p.stem for p in run.previews()] == ['b'] and len(run.records('train')) == 4


def test_it_trains_in_phases(root):
    phases = [dict(name='last', train=['2.*'], steps=6, lr=1e-3), dict(name='all', steps=6, gradient_accumulation=2)]
    values = {k: v for k, v in TINY.items() if k != 'steps'}
    run = train(configure(Config, values | dict(root=str(root), name='phases', phases=phases)))
    assert run.records('train').phase.tolist() == ['last']*6 + ['all']*6


def test_it_trains_an_adapter_of_another_run(root, run):
    tuned = train(told(root, name='adapter', init_from=str(run.path), training_mode='lora', rank=2))
    (before, _), (after, _) = load_model(run), load_model(tuned)
    assert before.state_dict().keys() == after.state_dict().keys()          # merged: a plain model again
    assert not torch.equal(before[0].weight, after[0].weight) and torch.equal(before[0].bias, after[0].bias)
    assert (tuned.path/'model'/'adapter').is_dir()


@pytest.mark.parametrize('wrong, says', [(dict(sgima=.2), "'sgima' is no parameter. Did you mean sigma: float = 0.1"),
                                         (dict(learning_rate=1), "'learning_rate' is called lr here: lr: float = 0.002")])
def test_a_mistyped_parameter_is_refused(wrong, says):
    with pytest.raises(ParameterError, match=says.replace('.', r'\.')): configure(Config, wrong)
