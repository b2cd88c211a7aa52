"""Pickles that run code when they are unpickled, as bytes, in every way in which a pickle can call."""

from __future__ import annotations

import struct

from tests.weights.files.makers import legacy, mapping, text, torch_zip

CALLS = [
    "os.system",
    "posix.system",
    "nt.system",
    "builtins.eval",
    "builtins.exec",
    "builtins.compile",
    "builtins.getattr",
    "builtins.__import__",
    "builtins.open",
    "__builtin__.eval",
    "__builtin__.execfile",
    "commands.getoutput",
    "subprocess.Popen",
    "subprocess.check_output",
    "runpy.run_path",
    "runpy._run_code",
    "importlib.import_module",
    "code.InteractiveInterpreter",
    "cProfile.runctx",
    "timeit.timeit",
    "pdb.run",
    "webbrowser.open",
    "socket.create_connection",
    "ctypes.CDLL",
    "marshal.loads",
    "pickle.loads",
    "_pickle.loads",
    "types.FunctionType",
    "operator.attrgetter",
    "operator.methodcaller",
    "functools.partial",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "shutil.rmtree",
    "pathlib.Path.write_text",
    "pip.main",
    "setuptools.setup",
    "numpy.load",
    "numpy.testing._private.utils.runstring",
    "numpy.f2py.crackfortran.getlincoef",
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.storage._load_from_bytes",
    "torch.serialization.load",
    "torch._utils._import_dotted_name",
    "torch.utils.collect_env.run",
    "torch.nn.Module.apply",
    "torch.fx.graph_module.reduce_graph_module",
    "torchvision.models.inception.Inception3",
    "collections.OrderedDict.fromkeys",
    "__main__.Net",
]


def split(name: str) -> tuple[str, str]:
    module, _, function = name.rpartition(".")
    return module, function


def styles(name: str, argument: str) -> dict[str, bytes]:
    """A call of a name with one text, in every way that the instructions know; all but the last name it."""
    module, function = split(name)
    plain = f"c{module}\n{function}\n".encode()
    stacked = text(module) + text(function) + b"\x93"
    one = text(argument)
    memo = text(module) + b"\x940" + text(function) + b"\x940" + b"h\0h\1\x93"
    return {
        "reduce": plain + one + b"\x85R",
        "stacked": stacked + one + b"\x85R",
        "from the memo": memo + one + b"\x85R",
        "old text": plain + b"(S'" + argument.encode() + b"'\ntR",
        "instance": b"(" + one + f"i{module}\n{function}\n".encode(),
        "object": b"(" + plain + one + b"o",
        "new object": plain + one + b"\x85\x81",
        "new object with words": plain + one + b"\x85}\x92",
        "state": plain + one + b"b",
        "never called": plain,
        "in a shape": b"ctorch\nSize\n(" + plain + one + b"\x85RtR",
        "as items": b"ccollections\nOrderedDict\n(" + plain + one + b"\x85RtR",
        "as a storage": b"(" + text("storage") + plain + text("0") + text("cpu") + b"K\1tQ",
        "as a hook": b"ctorch._utils\n_rebuild_parameter\n(NN" + plain + one + b"\x85RtR",
        "thrown away": plain + one + b"\x85R0N",
        "marked away": b"(" + plain + one + b"\x85R1N",
    }


def files(value: bytes) -> dict[str, bytes]:
    """A value in every kind of file that a pickle lies in."""
    body = mapping(weight=value)
    return {
        "bare": b"\x80\x04" + value + b".",
        "framed": b"\x80\x04\x95" + struct.pack("<Q", len(value) + 1) + value + b".",
        "inside of a dict": body,
        "as a state": b"\x80\x02ccollections\nOrderedDict\n)R}" + text("_metadata") + value + b"sb.",
        "legacy": legacy(body),
        "as the magic number": b"\x80\x02" + value + b"." + legacy(body),
        "as the list of storages": legacy(mapping(), value + b"."),
        "torch zip": torch_zip(body),
    }


EXTENSIONS = {"extension 1": b"\x82\x01)R", "extension 2": b"\x83\x01\0)R", "extension 4": b"\x84\x01\0\0\0)R"}
"""Calls by a number of copyreg's registry, which have no name."""
