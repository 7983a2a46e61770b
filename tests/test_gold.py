"A change of the engine changes no bit of what it trains."
import pytest


def test_every_bit_is_as_it_was(script):
    said = script('gold.py', 'check')
    if said.startswith('skipped'): pytest.skip(said.strip())
    assert 'all equal' in said
