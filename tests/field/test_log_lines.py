"""Standard error has what commands say, and nothing of what libraries chat; crashes are shown."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.field_films import Films

CHATTER = [
    "INFO: [accelerator_registry.cc:43] DestroyAccelerator: ptr=0x7f3154511e70, name=CpuAccelerator",
    "WARNING: [model_load.cc:402] Sparsity tensors may not yet be fully supported.",
    "INFO: [compiled_model.cc:981] Flatbuffer model initialized directly from incoming litert model.",
    "W0000 00:00:1795941546.834299   16169 inference_runner_litert.cc:1418] Input tensor memory",
    "I0000 00:00:1795941546.834299   16169 image_segmenter_graph.cc:34] Tensors",
    "W0000 00:00:1795941546.834299 16169 inference_feedback_manager.cc:114] Feedback manager",
    "WARNING: Logging before InitGoogle() is written to STDERR",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "[2026-11-29 08:40:24,697 E 16877 16877] core_worker.cc:2465: Actor with class name: 'MapWorker' "
    "and ID: 'aa' has constructor arguments in the object store and max_restarts > 0.",
    "[2026-11-29 08:40:24,697 W 16877 16877] (raylet) node_manager.cc:12: slow",
]
SAYING = [
    "ERROR: [compiled_model.cc:981] Out of memory",
    "E0000 00:00:1795941546.834299   16169 calculator_graph.cc:928] INTERNAL: it broke",
    "F0000 00:00:1795941546.834299   16169 check.cc:1] Check failed",
    "[2026-11-29 08:40:24,697 E 16877 16877] core_worker.cc:2465: The node died.",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "INFO: nothing of a library",
    "*** SIGSEGV received at time=1795941546 on cpu 1 ***",
]
START = "import os, sys; from raymaskdp.cli.native_log import keep_chatter_out; keep_chatter_out()\n"


def program(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + text],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_chatter_is_left_out_and_everything_else_is_passed_on() -> None:
    lines = [line for pair in zip(CHATTER, [*SAYING, "", "", "", ""], strict=True) for line in pair]
    written = "\n".join(lines) + "\nan end without a line"
    done = program(f"print('out'); os.write(2, {written.encode()!r})")
    assert done.stderr == "\n".join(line for line in lines if line not in CHATTER) + "\nan end without a line"
    assert done.stdout == "out\n"
    assert program(f"os.write(2, {written.encode()!r})", RAYMASKDP_LOG="native").stderr == written


def test_a_line_may_come_in_parts_and_out_of_children() -> None:
    first, last = CHATTER[0][:20].encode(), CHATTER[0][20:].encode() + b"\n"
    done = program(
        f"import subprocess; os.write(2, {first!r}); os.write(2, {last!r}); os.write(2, b'said ')\n"
        f"subprocess.run([sys.executable, '-c', 'import os; os.write(2, b\"by a child\\\\n\")'])"
    )
    assert done.stderr == "said by a child\n"


def test_processes_that_chat_at_once_are_left_out_too() -> None:
    """LiteRT writes a severity, the rest and the end one by one, so that two processes mix their lines."""
    severity, rest = CHATTER[0].split(" ", 1)
    mixed = [
        f"{severity} {severity} {rest}\n{rest}\n",  # a severity, a whole line, the rest of the first
        f"{severity} {rest}{severity} {rest}\n\n",  # two lines, and then both ends
        f"{severity} {severity} Created TensorFlow Lite XNNPACK delegate for CPU.\n{rest}\n",
    ]
    said = ["a line\n", "\n", f"{severity} it goes on\n", f"{rest}\n", f"ERROR: {rest}\n"]
    written = "".join(one + other for one, other in zip([*mixed, "", ""], said, strict=True))
    assert program(f"os.write(2, {written.encode()!r})").stderr == "".join(said)


def test_crashes_and_tracebacks_are_shown() -> None:
    crashed = program("import faulthandler; faulthandler.enable()\nimport ctypes; ctypes.string_at(0)")
    assert crashed.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in crashed.stderr
    killed = program("os.write(2, b'last words\\n'); os.abort()")
    assert (killed.returncode, killed.stderr) == (-signal.SIGABRT, "last words\n")
    raised = program('raise RuntimeError("of one\'s own")')
    assert raised.stderr.endswith("RuntimeError: of one's own\n")
    assert "Traceback" in raised.stderr


def test_in_a_terminal_python_still_sees_one() -> None:
    ours, theirs = pty.openpty()
    text = (
        START + f"print(sys.stderr.isatty(), file=sys.stderr); os.write(2, {CHATTER[0].encode()!r} + b'\\n')"
    )
    subprocess.run([sys.executable, "-c", text], stderr=theirs, timeout=60, check=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 1000)
        except OSError:  # what a terminal gives whose last writer is gone
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert shown == b"True\r\n"


def lines_of(text: str) -> list[str]:
    """What stays on a terminal, without the progress bar."""
    return [line for line in re.split(r"[\r\n]+", text) if line.strip() and not line.startswith("anonymize:")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "workers", [0, pytest.param(1, marks=pytest.mark.cluster)], ids=["in process", "on Ray"]
)
def test_anonymize_says_nothing_but_its_progress(workers: int, films: Films, tmp_path: Path) -> None:
    """With MediaPipe's networks, whose libraries log at every load and at the end."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "raymaskdp",
            "anonymize",
            films.a,
            "--out",
            tmp_path / "out",
            f"workers={workers}",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "RAY_ADDRESS": ""},
    )
    assert lines_of(done.stderr) == []
    assert re.search(r"1 (done|quarantined)", done.stdout), done.stdout


def test_warnings_of_this_project_look_like_its_messages() -> None:
    """Whatever format a library gave to the root logger before."""
    text = (
        "import logging; from raymaskdp.cli import program\n"
        "logging.basicConfig(format='%(asctime)s:%(levelname)s:%(message)s')\n"
        "program._say_warnings(); logging.getLogger('raymaskdp.some.module').warning('Look at %s.', 'this')"
    )
    assert program(text).stderr == "raymaskdp: Look at this.\n"


@pytest.mark.slow
@pytest.mark.cluster
def test_a_worker_that_dies_writes_nothing_on_standard_output() -> None:
    """Ray printed "(raylet) Task … failed. There are 2 retries remaining" there, before a result in JSON."""
    done = program(
        "from raymaskdp.distributed.connect import ray_cluster\n"
        "with ray_cluster(num_cpus=1):\n"
        "    import ray\n"
        "    task = ray.remote(max_retries=1)(lambda: os._exit(1))\n"
        "    try:\n"
        "        ray.get(task.remote())\n"
        "    except ray.exceptions.WorkerCrashedError:\n"
        "        print('crashed')\n"
        "        import time; time.sleep(1)\n"
    )
    assert done.stdout == "crashed\n", done.stderr[-2000:]
    assert done.stderr == ""
