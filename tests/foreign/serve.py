"""Runs the server of llama-cpp-python on the llama.cpp that npm has built: serve.py ARGUMENTS OF THE SERVER."""

import ctypes
import pathlib
import importlib.util

# The package names functions that this build of the library does not have. None of them is needed to serve.
find = ctypes.CDLL.__getattr__


def find_or_stand_in(library, name):
    try:
        return find(library, name)
    except AttributeError:
        if not name.startswith(("llama_", "ggml_")):
            raise

        def missing(*_):
            raise NotImplementedError(f"this build of llama.cpp has no {name}")

        return missing


ctypes.CDLL.__getattr__ = find_or_stand_in

# Each kind of processor has a library of its own here, and somebody must choose.
libraries = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"
ggml = ctypes.CDLL(str(libraries / "libggml.so"))
ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
ggml.ggml_backend_load_all_from_path(str(libraries).encode())

from llama_cpp.server.__main__ import main  # noqa: E402

main()
