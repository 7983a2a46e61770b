"A sweep: one trial fails by itself, one is killed, the sweep is killed; all rows come, and no bit differs."
import json, os, signal, subprocess, sys, threading, time
from pathlib import Path
import pytest, torch
from trainlab.launch.sweep import sweep
from trainlab.run.weights import Weights

JOB = Path(__file__).parent.parent/'nbs'/'train_vsr.ipynb'
TINY = dict(steps=60, warmup=5, num_blocks=3, crop=24, batch_size=1, preview_every=60, save_every=5, previews=0, device='cpu')
COMMAND = [sys.executable, '-m', 'trainlab.launch.cli', 'sweep', str(JOB), '--vary', 'lr=1e-3,2e-3', '--name', 'rates',
           '--jobs', '2', '--fixed', ' '.join(f'{k}={v}' for k, v in TINY.items())]


@pytest.fixture(autouse=True)
def out_of_test(monkeypatch): monkeypatch.delenv('IN_TEST', raising=False)

@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "What comes out where nothing happens: name -> tensors."
    root, was = tmp_path_factory.mktemp('alone'), os.environ.pop('IN_TEST', None)
    rows = list(sweep(JOB, dict(lr=[1e-3, 2e-3]), fixed=TINY, name='rates', root=root, at_once=2))
    if was is not None: os.environ['IN_TEST'] = was
    assert [r['state'] for r in rows] == ['finished']*2, rows
    return {r['trial']: Weights(root/r['trial']).tensors() for r in rows}


def same(root, alone, names): return all(torch.equal(v, alone[n][k]) for n in names for k, v in Weights(root/n).tensors().items())
def saved(root, name): return max((int(p.name[5:]) for p in (root/name).glob('checkpoints/step_*')), default=0)

def holder(root, name):
    "The process that trains a run, and who began it."
    path = root/f'.{name}.holder.json'
    return json.loads(path.read_text())['pid'] if path.exists() else 0

def until(true, process=None, most=120):
    end = time.monotonic() + most
    while not true():
        assert process is None or process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, 'too slow'
        time.sleep(.02)

def gone(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return True
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'


def test_a_killed_trial_goes_on_and_a_failing_one_is_told(tmp_path, alone):
    name, killed = 'rates-lr=0.001', []
    def kill():
        until(lambda: saved(tmp_path, name) >= 10); killed.append(saved(tmp_path, name)); os.kill(holder(tmp_path, name), signal.SIGKILL)
    threading.Thread(target=kill, daemon=True).start()
    rows = {r['trial']: r for r in sweep(JOB, dict(lr=[1e-3, 'fast', 2e-3]), fixed=TINY, name='rates', root=tmp_path, at_once=2)}
    assert {n: r['state'] for n, r in rows.items()} == {name: 'finished', 'rates-lr=fast': 'failed', 'rates-lr=0.002': 'finished'}
    assert "lr = 'fast' does not fit" in rows['rates-lr=fast']['error'] and killed
    history = json.loads((tmp_path/name/'run.json').read_text())['history']
    assert len(history) == 2 and history[1]['from_step'] >= killed[0] and same(tmp_path, alone, list(alone))


def test_a_killed_sweep_leaves_no_job_and_goes_on(tmp_path, alone):
    start = lambda: subprocess.Popen([*COMMAND, '--root', str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first, names = start(), list(alone)
    until(lambda: all(saved(tmp_path, n) >= 5 for n in names), first); trainers = [holder(tmp_path, n) for n in names]
    first.kill(); first.wait(); until(lambda: all(map(gone, trainers)), most=60)
    at = {n: saved(tmp_path, n) for n in names}
    second = start(); said, _ = second.communicate(timeout=300)
    assert second.returncode == 0 and said.count('finished') >= 2, said
    for n in names: assert json.loads((tmp_path/n/'run.json').read_text())['history'][-1]['from_step'] == at[n] or at[n] == 60
    assert same(tmp_path, alone, names)


def test_a_finished_trial_that_was_told_something_else_is_refused_in_words(tmp_path):
    few = TINY | dict(steps=4, warmup=1, preview_every=4); [row] = sweep(JOB, {}, fixed=few, name='one', root=tmp_path); assert row['state'] == 'finished'
    [row] = sweep(JOB, {}, fixed=few | dict(crop=27), name='one', root=tmp_path)
    assert row['state'] == 'failed' and 'crop: 24 -> 27' in row['error'] and 'amend=True' in row['error'], row


def test_the_command_tells_how_far_jobs_are_and_what_seeds_do(tmp_path):
    code = 'import runpy; from trainlab.launch import trials; trials.EVERY = .5; runpy.run_module("trainlab.launch.cli", run_name="__main__")'
    fixed = ' '.join(f'{k}={v}' for k, v in TINY.items())
    def run(*more): return subprocess.run([sys.executable, '-c', code, 'sweep', str(JOB), '--fixed', fixed, '--root', str(tmp_path), '--name', 'r', *more], capture_output=True, text=True, timeout=300)
    done = run('--seeds', '2', '--jobs', '2'); assert done.returncode == 0, done.stdout + done.stderr
    assert ' of 60, loss ' in done.stdout and 'over seeds, mean and standard deviation:' in done.stdout and 'psnr ±' in done.stdout, done.stdout
    wrong = run('--vary', 'learning_rate=1e-3'); assert wrong.returncode == 1 and 'Did you mean lr?' in wrong.stderr, wrong.stderr


def test_a_sweep_that_is_interrupted_saves_and_more_steps_go_on(tmp_path):
    first = subprocess.Popen([*COMMAND, '--root', str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: saved(tmp_path, 'rates-lr=0.001') >= 5, first); first.send_signal(signal.SIGINT); said, _ = first.communicate(timeout=120)
    assert first.returncode == 130 and 'the same command goes on' in said, said
    [row] = sweep(JOB, dict(lr=[1e-3]), fixed=TINY | dict(steps=70), name='rates', root=tmp_path)
    assert row['state'] == 'finished' and row['step'] == 70, row
