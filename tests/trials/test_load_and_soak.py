"""Clients without a pause, uploads, deletes, and some who leave: nothing fails, nothing grows.

`make trial-load` runs 1 to 128 clients for a minute each and 32 for RANKGATE_SOAK_S seconds (20
minutes unless it says otherwise); the sample of every day is in tests/app/test_load_short.py.
"""

import os
import statistics

import fault_kit
import load_kit
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.timeout(7200)]


def noted(name, result, **more):
    samples = result.pop("samples")
    third = max(1, len(samples) // 3)
    parts = samples[third : 2 * third], samples[-third:]
    means = [[round(statistics.fmean(s[i] for s in part), 1) for i in range(3)] for part in parts]
    more |= {"middle_third": means[0], "last_third": means[1]}
    fault_kit.figure("load", name=name, **more, **result)
    return means


@pytest.mark.parametrize("clients", [1, 8, 32, 128])
def test_clients(clients):
    seconds = float(os.environ.get("RANKGATE_LOAD_S", "60"))
    result = load_kit.measured(clients=clients, seconds=seconds, documents=40, seed=2)
    noted(f"{clients} clients", result, seconds=seconds)
    assert load_kit.verdict(result) == [], result


def test_one_client_beside_many_of_another_key():
    """Whoever asks alone is answered, whoever else asks a lot."""
    seconds = float(os.environ.get("RANKGATE_LOAD_S", "60"))
    result = load_kit.measured(
        clients=16, seconds=seconds, documents=40, seed=3, shares=(0,) * 15 + (1,)
    )
    noted("15 clients of one key, 1 of another", result, seconds=seconds)
    assert load_kit.verdict(result) == [], result
    assert result["answered"].get("beta", 0) > 0


def test_soak():
    seconds = float(os.environ.get("RANKGATE_SOAK_S", "1200"))
    result = load_kit.measured(clients=32, seconds=seconds, documents=60, seed=4)
    middle, last = noted("soak", result, seconds=seconds)
    assert load_kit.verdict(result) == [], result
    assert last[0] < middle[0] * 1.15, "memory grows"
    assert last[1] < middle[1] + 60 and last[2] < middle[2] + 4, "descriptors or threads grow"
