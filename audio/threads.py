"""How many threads each model may use, decided in one place.

One process shares few cores between recognition, synthesis and the language model. Speech work comes in
bursts of 20-100 ms, where a second thread costs more in waking up than it brings, and onnxruntime's
spinning threads take the core away from everybody else.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import onnxruntime

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(threads: int = 1) -> None:
    """Set the thread counts of the numeric libraries that read them when they are first used.

    Call it before a model loads. Variables that the user has set are left alone. It also quietens the
    loggers of the speech libraries, which otherwise write a line per utterance.
    """
    for name in _VARIABLES:
        os.environ.setdefault(name, str(threads))
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for logger in ("faster_whisper", "piper", "huggingface_hub"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(3)


def onnx_session(model: bytes | Path, threads: int = 1, cuda: bool = False) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU (or a GPU) with `threads` threads that sleep instead of spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    providers = [*(["CUDAExecutionProvider"] if cuda else []), "CPUExecutionProvider"]
    return onnxruntime.InferenceSession(source, options, providers=providers)
