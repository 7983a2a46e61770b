"`kill -9` at random instants, and during saves: nothing torn, nothing lost, no bit different."
import json
import pytest


def check(said, kills, during_save, operations=0):
    got = json.loads(said.splitlines()[-1])
    assert got['kills'] >= kills and got['kills_during_save'] >= during_save and got['kills_at_operations'] >= operations
    assert got['continued'] >= kills//2          # and not only before there was anything to lose
    assert got['different'] == 0 and got['damaged'] == 0 and got['litter'] == []


def test_some_kills(script): check(script('killing.py', '--kills', 10, '--during-save', 3), 10, 3)

def test_some_kills_of_a_curriculum(script): check(script('killing.py', '--what', 'vae', '--kills', 4, '--during-save', 2), 4, 2)

def test_some_kills_of_chapters_and_a_fork(script): check(script('killing.py', '--what', 'chapters', '--kills', 6, '--during-save', 2), 6, 2)

def test_some_kills_at_file_operations(script):
    check(script('killing.py', '--what', 'chapters', '--kills', 0, '--during-save', 0, '--operations', 6), 0, 0, 6)

@pytest.mark.slow
def test_many_kills_at_file_operations(script):
    check(script('killing.py', '--what', 'chapters', '--kills', 0, '--during-save', 0, '--operations', 100, timeout=3600), 0, 0, 100)

@pytest.mark.slow
def test_many_kills_of_chapters_and_forks(script): check(script('killing.py', '--what', 'chapters', '--kills', 100, '--during-save', 20, timeout=3600), 100, 20)

@pytest.mark.slow
def test_many_kills(script): check(script('killing.py', '--kills', 200, '--during-save', 50, timeout=3600), 200, 50)

@pytest.mark.slow
def test_many_kills_of_a_curriculum(script): check(script('killing.py', '--what', 'vae', '--kills', 100, '--during-save', 20, timeout=3600), 100, 20)
