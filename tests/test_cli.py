"The command `trainlab` in a shell of its own: what it ends with, and that the same command goes on."
import os, re, signal, subprocess, sys, time
from pathlib import Path
import pytest
from trainlab.run.folder import run_at

HERE = Path(__file__).parent
TINY = ['--size', '16', '--batch-size', '2', '--preview-every', '0', '--previews', '0', '--cpu']
COMMAND = [sys.executable, '-m', 'trainlab.launch.cli']


def begun(*words): return subprocess.Popen([*COMMAND, *map(str, words)], cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=os.environ | dict(PYTHONDONTWRITEBYTECODE='1'))

def done(*words):
    process = begun(*words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

def train(root, *more): return 'train', 'own_system', '--root', root, '--name', 'one', '--steps', 4000, *TINY, *more

def until_it_steps(root):
    records, end = root/'one'/'metrics.jsonl', time.monotonic() + 120
    while not (records.exists() and '"train"' in records.read_text()):
        assert time.monotonic() < end
        time.sleep(.05)


@pytest.mark.parametrize('how, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130), ('stop', 75)])
def test_what_was_stopped_goes_on(tmp_path, how, status):
    process = begun(*train(tmp_path))
    until_it_steps(tmp_path)
    if how == 'stop': assert done('stop', tmp_path/'one') == (0, '', '')
    else: process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status and 'Traceback' not in err, err
    at = run_at(tmp_path/'one').checkpoints.steps()[-1]
    assert 0 < at < 4000 and not run_at(tmp_path/'one').finished
    status, out, err = done(*train(tmp_path, '--steps', at + 20, '--amend'))
    assert status == 0 and f'continues from step {at} of {at + 20}' in out and run_at(tmp_path/'one').finished, out + err
    assert done('verify', tmp_path/'one')[0] == 0


def test_several_devices(tmp_path):
    status, out, err = done(*train(tmp_path, '--steps', 6, '--devices', 2))
    assert status == 0 and run_at(tmp_path/'one').finished, out + err
    assert re.search(r'psnr +\d', done('show', tmp_path/'one')[1])


@pytest.mark.parametrize('words, said', [(['train', 'own_system', '--learning-rate', '1e-3'], "'learning_rate' is called lr here"), (['train', 'nothing'], "'nothing' is no system"),
                                         (['train', 'own_system', '--data', 'nowhere'], 'nowhere'), (['show', 'nowhere'], 'no run there'), (['train', 'own_system', '--gpu'], "device 'cuda' was asked for")])
def test_what_is_wrong_is_a_line(tmp_path, words, said):
    more = ['--root', tmp_path] if words[0] == 'train' else []
    status, out, err = done(*words, *more)
    assert (status, out, len(err.splitlines())) == (1, '', 1) and said in err, err
