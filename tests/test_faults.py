"What happens to a run from outside: each is told in words, nothing is lost, and the same command goes on to the same bits."
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import pytest, torch
from trainlab.run.config import RunConfig
from trainlab.run.folder import Run
from trainlab.run.weights import Weights

HERE = Path(__file__).parent
SCRIPT = '''
import sys, time
sys.path.insert(0, {here!r})
import killing
from fastai.callback.core import Callback
class Slow(Callback):
    def after_batch(self): time.sleep({pause})
    def state_dict(self): return {{}}
from trainlab.run.config import configure
killing.formats.train(configure(killing.Config, dict(root={root!r}, name={name!r}, workers={workers}, save_every=5, preview_every=0, phases=[dict(name='mixed', steps=60, share=dict(small=.6, large=.4), batch_size=4, lr=1e-2)])), cbs=[Slow()])
'''


def start(root, name, workers=0, pause=.02):
    code = SCRIPT.format(here=str(HERE), root=str(root), name=name, workers=workers, pause=pause)
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def steps(root, name): return Run(RunConfig(name=name, root=str(root))).checkpoints.steps()


def until(root, name, step, process, most=120):
    end = time.monotonic() + most
    while max(steps(root, name), default=0) < step:
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < end, 'too slow'
        time.sleep(.02)


def finishes(root, name, workers=0):
    process = start(root, name, workers, 0); said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    return Weights(Path(root)/name).tensors()


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    return finishes(tmp_path_factory.mktemp('alone'), 'run')


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
def children(pid): return [int(p) for task in Path(f'/proc/{pid}/task').iterdir() for p in (task/'children').read_text().split()]


def test_a_process_that_was_suspended_goes_on(tmp_path, alone):
    process = start(tmp_path, 'run'); until(tmp_path, 'run', 10, process)
    os.kill(process.pid, signal.SIGSTOP); time.sleep(1); os.kill(process.pid, signal.SIGCONT)
    assert process.wait(120) == 0 and same(Weights(tmp_path/'run').tensors(), alone)


def test_a_worker_that_is_killed_is_told(tmp_path, alone):
    process = start(tmp_path, 'run', workers=2); until(tmp_path, 'run', 10, process)
    workers = children(process.pid); assert workers
    os.kill(workers[0], signal.SIGKILL); said, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and 'worker' in said.strip().splitlines()[-1]
    info = Run(RunConfig(name='run', root=str(tmp_path))).info['history'][-1]
    assert 'worker' in info['error'] and steps(tmp_path, 'run')[-1] >= 10       # torch tells it in the middle of a step
    assert same(finishes(tmp_path, 'run', 2), alone)


def test_a_folder_that_was_deleted_ends_in_words(tmp_path, alone):
    process = start(tmp_path, 'run'); until(tmp_path, 'run', 10, process)
    shutil.rmtree(tmp_path/'run', ignore_errors=True); said, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and 'run' in said.strip().splitlines()[-1] and 'KeyError' not in said.strip().splitlines()[-1]
    shutil.rmtree(tmp_path/'run', ignore_errors=True); assert same(finishes(tmp_path, 'run'), alone)


def test_a_clock_that_jumps_changes_nothing(tmp_path, alone, monkeypatch):
    code = SCRIPT.format(here=str(HERE), root=str(tmp_path), name='run', workers=0, pause=0)
    jumps = 'import time, itertools\nreal, n = time.time, itertools.count()\ntime.time = lambda: real() - 1e6*(next(n) % 3)\n'
    subprocess.run([sys.executable, '-W', 'ignore', '-c', jumps + code], check=True, capture_output=True, timeout=300)
    assert same(Weights(tmp_path/'run').tensors(), alone)


def test_of_many_starts_at_one_instant_one_trains(tmp_path, alone):
    processes = [start(tmp_path, 'run') for _ in range(4)]
    said = [p.communicate(timeout=300)[0] for p in processes]
    codes = [p.returncode for p in processes]
    assert codes.count(0) >= 1
    for code, text in zip(codes, said):
        if code: assert 'is being trained by process' in text.strip().splitlines()[-1] and 'process ? of' not in text
    assert same(finishes(tmp_path, 'run'), alone)


def test_sigterm_in_a_validation_saves_within_seconds(tmp_path):
    code = SCRIPT.format(here=str(HERE), root=str(tmp_path), name='run', workers=0, pause=0).replace('preview_every=0', 'preview_every=10').replace(
        'def after_batch(self): time.sleep(0)', 'run_train = False\n    def after_batch(self): time.sleep(.5)')
    process = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(tmp_path, 'run', 10, process); time.sleep(.7)
    began = time.monotonic(); process.send_signal(signal.SIGTERM); process.communicate(timeout=60)
    assert time.monotonic() - began < 10 and steps(tmp_path, 'run')[-1] == 10
