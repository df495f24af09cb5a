"""``gpuops preflight``: the flags of a launch mean to it what they mean to the launch."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(name="preflight")
def _preflight(tmp_path, gpuops):
    """What it says of a job of eight GPUs on a machine where one is lost and one is used."""
    claims = tmp_path / "claims"
    (tmp_path / "host.yaml").write_text("gpus: 8x4090\nbut: {3: lost}\n")
    (tmp_path / "busy.yaml").write_text("gpus: 8x4090\nbut: {3: {busy: {user: ana}}}\n")
    (tmp_path / "train.py").touch()

    def run(*words, inventory="host.yaml"):
        host = ("--profile", "8x4090", "--simulate", inventory)
        said = gpuops("preflight", "./train.py", *host, *words)
        assert not claims.exists(), "a look makes nothing"
        return said

    return run


def severity(answer, check="gpus"):
    found = json.loads(answer.stdout)["findings"]
    return next(one["severity"] for one in found if one["check"] == check)


def test_missing_gpus_are_an_error_that_shrinking_mends(preflight):
    """The rest is this machine's, and of no account to the simulated one."""
    refused = preflight("--json", "--force", "torch")
    shrunk = preflight("--json", "--force", "torch", "--shrink")

    assert (refused.returncode, severity(refused)) == (1, "error")
    assert (shrunk.returncode, severity(shrunk)) == (0, "warning")
    assert severity(shrunk, "torch") != "error"


def test_a_gpu_in_use_can_be_waited_for_or_shared(preflight):
    """One that is lost can be neither."""
    for way in (("--wait",), ("--wait", "8h"), ("--force", "gpus")):
        words = ("--json", "--force", "torch", *way)
        mended, hopeless = preflight(*words, inventory="busy.yaml"), preflight(*words)

        assert (mended.returncode, severity(mended)) == (0, "warning")
        assert (hopeless.returncode, severity(hopeless)) == (1, "error")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--force", "prot"), "did you mean port?"),
        (("--wait", "30min"), "30min is not a time"),
        (("--wait=soon",), "soon is not a time"),
        (("rvq", "--wait", "soon"), "soon is not a time"),
        (("--gpu", "0,1", "--nproc-per-node", "4"), "wants more GPUs than --gpu names"),
    ],
)
def test_a_mistake_is_one_sentence(preflight, words, sentence):
    """Exit code 2, as everywhere."""
    answer = preflight(*words)

    assert answer.returncode == 2, answer.stderr
    assert sentence in " ".join(answer.stderr.split())


def test_a_simulated_machine_is_named_as_such(preflight):
    """First of all; this machine's torch and cores stop no plan for it."""
    shown, told = (
        preflight(inventory="busy.yaml"),
        preflight("--json", "--wait", inventory="busy.yaml"),
    )

    assert shown.stdout.startswith("simulated: busy.yaml\n")
    assert "busy.yaml" == json.loads(told.stdout)["simulated"]
    assert 0 == told.returncode, told.stdout


def test_a_flag_typed_wrongly_is_pointed_out(preflight):
    """It goes to the script, which knows what to do with it."""
    assert "--shrnk goes to the script; gpuops has --shrink." in preflight("--shrnk").stderr
