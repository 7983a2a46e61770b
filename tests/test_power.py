"The power goes: nothing that was said to be finished is lost, and everything goes on to the same bits."
import json, os, shutil
import pytest

needs = pytest.mark.skipif(not shutil.which('losetup') or os.name != 'posix' or os.geteuid() != 0 or not os.path.exists('/dev/loop-control'),
                           reason='a file system of its own takes root and loop devices')


@needs
@pytest.mark.slow
def test_power_loss(script):
    got = json.loads(script('power.py', '--cuts', 30, timeout=1800).splitlines()[-1])
    assert got['cuts'] == 30 and got['after_finished'] >= 10 and got['continued'] >= 10
    assert got['different'] == 0 and got['models_lost'] == 0


@needs
@pytest.mark.slow
@pytest.mark.parametrize('what', ['formats', 'clips'])
def test_a_full_disk(script, what):
    got = json.loads(script('disk_full.py', '--what', what, '--sizes', 50, '--inodes', 10, timeout=3000).splitlines()[-1])
    assert got['runs'] == 60 and got['told'] >= 40
    assert got['raw'] == got['different'] == got['not continued'] == 0
