"Super-resolution's kernels across processes: made once, the same for everybody, and done without where there is no compiler."
import os, subprocess, sys
from pathlib import Path
import pytest, torch
from trainlab.run.machine import compiler

SPLAT = '''
import sys, torch
from trainlab.vsr import kernels
from trainlab.vsr.splat import Splat
torch.manual_seed(0)
made = Splat()(torch.rand(1, 1, 40, 50), torch.rand(1, 6, 40, 50), torch.randn(1, 6, 2, 40, 50))
torch.save(made, sys.argv[1])
print(kernels.kernels() is not None)
'''


def started(home: Path, name: str, **environment: str) -> subprocess.Popen:
    env = {k: v for k, v in os.environ.items() if k != 'TRAINLAB_KERNELS'} | dict(TRAINLAB_CACHE=str(home/'a cache'), PYTHONPATH=str(Path(__file__).parents[1]), OMP_NUM_THREADS='1')
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', SPLAT, str(home/name)], env=env | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.skipif(not compiler(), reason='no C compiler')
def test_two_that_come_at_once_share_a_library_and_a_third_does_without(tmp_path):
    at_once = [started(tmp_path, name) for name in ('a', 'b')]
    assert [p.communicate(timeout=300)[0] for p in at_once] == ['True\n', 'True\n']
    assert len([*(tmp_path/'a cache'/'kernels').iterdir()]) == 1
    assert started(tmp_path, 'c', TRAINLAB_KERNELS='0').communicate(timeout=300)[0] == 'False\n'
    a, b, c = (torch.load(tmp_path/name) for name in 'abc')
    assert a.equal(b) and (a - c).abs().max() < 1e-5


@pytest.mark.skipif(not compiler(), reason='no C compiler')
@pytest.mark.parametrize('fault', ['a compiler that fails', 'a damaged library'])
def test_what_fails_is_said_and_done_without(tmp_path, fault):
    environment = {}
    if fault == 'a damaged library':
        assert started(tmp_path, 'first').communicate(timeout=300)[0] == 'True\n'
        next((tmp_path/'a cache'/'kernels').glob('*.so')).write_bytes(b'no library')
    else:
        cc = tmp_path/'bin'/'cc'; cc.parent.mkdir(); cc.write_text('#!/bin/sh\n[ "$1" = --version ] && echo cc 1 || { echo no space left >&2; exit 1; }\n'); cc.chmod(0o755)
        environment = dict(PATH=f'{cc.parent}{os.pathsep}{os.environ["PATH"]}')
    said = started(tmp_path, 'made', **environment).communicate(timeout=300)[0]
    assert 'could not make the kernels' in said and said.endswith('False\n') and torch.load(tmp_path/'made').isfinite().all()
