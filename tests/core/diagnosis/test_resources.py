"""A resource that ran out is named in the diagnosis, with the command that mends it."""

from __future__ import annotations

import pytest

from gpuops.core.diagnosis.crash import Crash, diagnose_crash
from gpuops.core.diagnosis.torchrun_failure import RankEnd


def raised(line, *, file="/home/ada/train.py", code="z()"):
    """A traceback that ends in a line; a library's own file may have raised it."""
    return (
        'Traceback (most recent call last):\n  File "/home/ada/train.py", line 31, in step\n'
        f'    x = y()\n  File "{file}", line 71, in y\n    {code}\n    ^^^^\n{line}\n'
    )


def kind_and_rank(said, **end):
    """What is diagnosed if rank 1 ends with these words."""
    found = diagnose_crash(Crash(returncode=1, ranks=(failed(said, **end),)))
    return found.kind, found.rank


def advice(said):
    return diagnose_crash(Crash(returncode=1, ranks=(failed(said),))).advice


def failed(said, **changes):
    return RankEnd(**{"rank": 1, "exitcode": 1, "stderr_tail": said, **changes})


# Texts of torch 2.13, Python 3.11, glibc, OpenBLAS and NCCL, each met or read in its source.
RESOURCES = {
    "file limit": (
        raised("OSError: [Errno 24] Too many open files: '/data/clip-7.npy'"),
        raised("RuntimeError: received 0 items of ancdata"),
        raised(
            "RuntimeError: unable to open shared memory object </torch_71_9_3> in read-write mode: "
            "Too many open files (24)"
        ),
        raised("OSError: [Errno 23] Too many open files in system"),
        (
            "python: error while loading shared libraries: libm.so.6: cannot open shared object "
            "file: Error 24\n"
        ),
    ),
    "process limit": (
        raised("RuntimeError: can't start new thread"),
        raised("RuntimeError: Resource temporarily unavailable"),
        raised(
            "BlockingIOError: [Errno 11] Resource temporarily unavailable",
            file="/usr/lib/python3.11/multiprocessing/popen_fork.py",
        ),
        raised(
            "BlockingIOError: [Errno 11] Resource temporarily unavailable: 'git'",
            file="/usr/lib/python3.11/subprocess.py",
        ),
        raised("BlockingIOError: [Errno 11] Resource temporarily unavailable", code="os.fork()"),
        "libgomp: Thread creation failed: Resource temporarily unavailable\n",
        (
            "terminate called after throwing an instance of 'std::system_error'\n"
            "  what():  Resource temporarily unavailable\n"
        ),
        "OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 8: Resource temporarily "
        "unavailable\n" + raised("KeyboardInterrupt"),
        "sh: fork: retry: Resource temporarily unavailable\n",
    ),
    "shared memory full": (
        raised("RuntimeError: unable to write to file </torch_812_99_0>: No space left on device"),
        raised(
            "RuntimeError: unable to allocate shared memory(shm) for file </torch_812_99_0>: No "
            "space left on device (28)"
        ),
        raised(
            "OSError: [Errno 28] No space left on device",
            file="/usr/lib/python3.11/multiprocessing/synchronize.py",
        ),
        raised("OSError: [Errno 28] No space left on device: '/dev/shm/pymp-x'"),
        raised(
            "torch.distributed.DistBackendError: NCCL error: Error while creating shared memory "
            "segment /dev/shm/nccl-5Qx (size 9637888)"
        ),
    ),
    "disk full": (
        raised("OSError: [Errno 28] No space left on device"),
        raised("OSError: [Errno 122] Disk quota exceeded: '/home/ada/ckpt.pt'"),
        raised("OSError: [Errno 27] File too large"),
    ),
    "out of memory (host)": (
        raised("MemoryError"),
        raised("OSError: [Errno 12] Cannot allocate memory"),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'\n"
            "  what():  std::bad_alloc\n"
        ),
        raised("ImportError: libtorch_cpu.so: failed to map segment from shared object"),
        raised(
            "RuntimeError: unable to mmap 4000 bytes from file </torch_71_9_3>: Cannot allocate "
            "memory (12)"
        ),
    ),
    "gpu missing": (
        raised("RuntimeError: No CUDA GPUs are available"),
        raised("AssertionError: Torch not compiled with CUDA enabled"),
        raised("RuntimeError: Found no NVIDIA driver on your system. Please check that you have"),
        raised("RuntimeError: CUDA error: no CUDA-capable device is detected"),
        raised("ValueError: ProcessGroupNCCL is only supported with GPUs, no GPUs found!"),
        raised("RuntimeError: Distributed package doesn't have NCCL built in"),
        raised(
            "RuntimeError: Attempting to deserialize object on a CUDA device but "
            "torch.cuda.is_available() is False. If you are running on a CPU-only machine"
        ),
        raised("AssertionError", code="assert torch.cuda.is_available()"),
        raised("AttributeError: module 'torch._C' has no attribute '_cuda_setDevice'"),
        raised("RuntimeError: CUDA is not available"),
        raised("ValueError: fp16 mixed precision requires a GPU (not 'cpu')."),
    ),
}
MENDS = {
    "file limit": "ulimit -n 65536",
    "process limit": "ulimit -u 65536",
    "shared memory full": "--shm-size",
    "disk full": "df -h",
    "out of memory (host)": "--mem",
    "gpu missing": "gpuops profiles list",
}


@pytest.mark.parametrize(
    ("kind", "said"), [(k, one) for k, all_ in RESOURCES.items() for one in all_]
)
def test_a_resource_that_ran_out_has_its_own_name(kind, said):
    """Whether a rank says so or torchrun; only a rank asks for a GPU."""
    assert (kind, 1) == kind_and_rank(said)
    if kind != "gpu missing":
        found = diagnose_crash(Crash(returncode=1, agent_tail=said))
        assert (kind, None) == (found.kind, found.rank)


@pytest.mark.parametrize(("kind", "mend"), MENDS.items())
def test_a_resource_that_ran_out_comes_with_the_command_that_mends_it(kind, mend):
    """In the advice of the diagnosis."""
    assert mend in advice(RESOURCES[kind][0])


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("OSError: [Errno 122] Disk quota exceeded", "quota -s"),
        ("OSError: [Errno 27] File too large", "ulimit -f unlimited"),
        ("RuntimeError: unable to mmap 8 bytes: Cannot allocate memory", "vm.max_map_count"),
        ("ImportError: a.so: failed to map segment from shared object", "ulimit -v unlimited"),
    ],
)
def test_a_limit_of_the_same_kind_has_advice_of_its_own(said, mend):
    """What is full, or not allowed, is not always the disk or the memory."""
    assert mend in advice(raised(said))


@pytest.mark.parametrize(
    ("free", "kind"), [(0, "shared memory full"), (1 << 30, "signal"), (None, "signal")]
)
def test_a_bus_error_in_a_full_shared_memory_is_its_end(free, kind):
    """A mapped file that could not grow; of a disk it may be another one."""
    rank = failed("", exitcode=-7)

    assert kind == diagnose_crash(Crash(returncode=1, ranks=(rank,), shm_free_bytes=free)).kind


@pytest.mark.parametrize(("refused", "kind"), [(True, "process limit"), (False, "signal")])
def test_an_abort_without_threads_is_a_limit(refused, kind):
    """gloo cannot start its threads, and C++ does not say so."""
    rank = failed("terminate called without an active exception", exitcode=-6)
    found = diagnose_crash(Crash(returncode=1, ranks=(rank,), threads_refused=refused))

    assert kind == found.kind
    assert ("ulimit -u" in found.advice) is refused


@pytest.mark.parametrize(
    "said",
    [
        raised("AssertionError", code="assert x > 0"),
        raised("BlockingIOError: [Errno 11] Resource temporarily unavailable"),
        raised(
            "BlockingIOError: [Errno 11] Unable to open file (unable to lock file, errno = 11, "
            "error message = 'Resource temporarily unavailable')"
        ),
        raised(
            "ImportError: a.so: failed to map segment from shared object: Operation not permitted"
        ),
    ],
)
def test_the_same_word_elsewhere_is_an_exception(said):
    """A socket that would block, a locked file, a disk that may not be executed from."""
    assert ("exception", 1) == kind_and_rank(said)


def test_a_port_that_the_script_opens_itself_is_not_the_rendezvous():
    """Another rendezvous port would not help."""
    said = raised("OSError: [Errno 98] Address already in use", code="s.bind(('', 6006))")

    assert ("exception", 1) == kind_and_rank(said)
    assert "let rank 0 alone open it" in advice(said)


def test_a_module_that_is_not_there_is_named_without_a_traceback():
    """The interpreter says so in a line; a module that the program imports is another matter."""
    said = "/usr/bin/python3: No module named my_package.train\n"

    assert ("exception", 1) == kind_and_rank(said)
    assert "after `-m`" in advice(said)
    assert "traceback" in advice(raised("ModuleNotFoundError: No module named 'yaml'"))


def test_what_stands_before_a_traceback_on_its_line_hides_nothing():
    """A progress bar ends without a newline."""
    said = " 45%|####   | 45/100 [00:01<00:01, 40.1it/s]" + raised("ValueError: no clip 3")

    assert ("exception", 1) == kind_and_rank(said)


def test_a_gpu_that_was_given_is_not_missing():
    """Then the profile is not to blame."""
    said = RESOURCES["gpu missing"][0]

    assert ("exception", 1) == kind_and_rank(said, gpu=3)
