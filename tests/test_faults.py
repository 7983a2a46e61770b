"What happens to a run from outside: each is told in words, nothing is lost, and the same command goes on to the same bits."
import ctypes, getpass, json, os, shutil, signal, subprocess, sys, time
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


OWN = '''
import sys, time
sys.path.insert(0, {here!r})
from own_system import Config, train
from fastai.callback.core import Callback
class Slow(Callback):
    def after_batch(self): time.sleep({pause})
    def state_dict(self): return {{}}
from trainlab.run.config import configure
train(configure(Config, dict(root={root!r}, name={name!r}, workers={workers}, size=16, batch_size=1, steps=60, save_every=5, preview_every=20, previews=1)), cbs=[Slow()])
'''


def started(code, **how): return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
def start(root, name, workers=0, pause=.02, script=SCRIPT, **how): return started(script.format(here=str(HERE), root=str(root), name=name, workers=workers, pause=pause), **how)


def steps(root, name): return Run(RunConfig(name=name, root=str(root))).checkpoints.steps()


def until(root, name, step, process, most=120):
    end = time.monotonic() + most
    while max(steps(root, name), default=0) < step:
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < end, 'too slow'
        time.sleep(.02)


def finishes(root, name, workers=0, script=SCRIPT, **how):
    process = start(root, name, workers, 0, script, **how); said, _ = process.communicate(timeout=300)
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


def without_privilege():
    "Root, from here on, is held to permissions like anybody else."
    for capability in (1, 2): ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0)      # PR_CAPBSET_DROP: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def held_to_permissions(folder):
    folder.mkdir(); folder.chmod(0o555)
    code = f'open({str(folder/"file")!r}, "w")'
    return subprocess.run([sys.executable, '-c', code], preexec_fn=without_privilege, capture_output=True).returncode != 0


@pytest.fixture(scope='module')
def unprivileged(tmp_path_factory):
    if sys.platform != 'linux' or not held_to_permissions(tmp_path_factory.mktemp('may')/'not'):
        pytest.skip('no process can be started here that permissions hold back')
    return dict(preexec_fn=without_privilege)


def ends(process, *words):
    "It ends with an error; its last line says these words."
    said, _ = process.communicate(timeout=120)
    last = said.strip().splitlines()[-1]
    assert process.returncode == 1 and all(w in last for w in words), said[-3000:]
    print(last)


LET = f'Permission denied. Let {getpass.getuser()} read and write it, then run the same again'
LOST = [('', 0o555, 'run'), ('', 0, 'run'), ('checkpoints', 0o555, 'checkpoints'), ('checkpoints', 0, 'checkpoints'), ('metrics.jsonl', 0o444, 'metrics.jsonl'),
        ('metrics.jsonl', 0, 'metrics.jsonl'), ('run.json', 0, 'run.json')]


@pytest.mark.parametrize('what, mode, named', [pytest.param(*x, marks=() if i == 3 else pytest.mark.slow) for i, x in enumerate(LOST)])
def test_a_permission_that_is_lost_ends_in_words(tmp_path, alone, unprivileged, what, mode, named):
    process = start(tmp_path, 'run', **unprivileged); until(tmp_path, 'run', 10, process)
    place = tmp_path/'run'/what; was = place.stat().st_mode
    place.chmod(mode); ends(process, named, LET)
    ends(start(tmp_path, 'run', **unprivileged), named, LET)                # nor is anything lost by trying
    place.chmod(was)
    again = start(tmp_path, 'run', pause=0, **unprivileged); said, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and 'run continues from step' in said and same(Weights(tmp_path/'run').tensors(), alone)
    rows = [json.loads(line) for line in (tmp_path/'run'/'metrics.jsonl').read_text().splitlines()]
    assert [r['step'] for r in rows if r['kind'] == 'train'] == list(range(1, 61))


@pytest.mark.slow
def test_a_root_that_cannot_be_written_any_more_is_told(tmp_path, alone, unprivileged):
    "The run itself lies below and comes to its end; who held it could not be taken away, and holds nothing."
    root = tmp_path/'root'
    process = start(root, 'run', **unprivileged); until(root, 'run', 10, process)
    root.chmod(0o555); said, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and same(Weights(root/'run').tensors(), alone)
    ends(start(root, 'run', **unprivileged), 'root', LET)
    root.chmod(0o755); assert same(finishes(root, 'run', **unprivileged), alone) and not list(root.glob('.run.holder*'))


@pytest.fixture(scope='module')
def own(tmp_path_factory):
    "Weights of a run on clips in a cache of its own, and that cache."
    folder = tmp_path_factory.mktemp('own')
    env = os.environ | dict(TRAINLAB_CACHE=str(folder/'cache'))
    return finishes(folder, 'run', script=OWN, env=env), folder/'cache'


def test_previews_that_cannot_be_written_end_in_words(tmp_path, own, unprivileged):
    how = unprivileged | dict(script=OWN, env=os.environ | dict(TRAINLAB_CACHE=str(own[1])))
    process = start(tmp_path, 'run', **how); until(tmp_path, 'run', 10, process)
    previews = tmp_path/'run'/'previews'; previews.chmod(0o555); ends(process, 'previews', LET)
    assert steps(tmp_path, 'run')[-1] == 20                                   # the last whole step was saved
    previews.chmod(0o755); assert same(finishes(tmp_path, 'run', **how), own[0]) and len(list(previews.glob('step_*'))) == 3


@pytest.mark.slow
def test_a_cache_that_cannot_be_used_any_more_ends_in_words(tmp_path, own, unprivileged):
    cache = tmp_path/'cache'; cache.mkdir(); cache.chmod(0o555)
    how = unprivileged | dict(script=OWN, env=os.environ | dict(TRAINLAB_CACHE=str(cache)))
    ends(start(tmp_path, 'run', **how), 'cache cannot be written (Permission denied). Let it be written, or set TRAINLAB_CACHE to another folder.')
    cache.chmod(0o755); process = start(tmp_path, 'run', **how); until(tmp_path, 'run', 10, process)
    cache.chmod(0); ends(process, 'cache', 'cannot be read any more (Permission denied). Let it be read, and start the same again.')
    assert steps(tmp_path, 'run')[-1] >= 10
    cache.chmod(0o755); assert same(finishes(tmp_path, 'run', **how), own[0])
