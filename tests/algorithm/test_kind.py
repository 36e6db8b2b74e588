import pytest
import wasmtime

from maniple.algorithm.kind import Kind, kind_of, surface_of
from maniple.errors import AlgorithmError


def wat(text):
    return bytes(wasmtime.wat2wasm(text))


EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))'
START = '(func (export "_start"))'
GLUE = '(import "./glue" "log" (func (param i32)))'


def test_a_wasi_program_runs_without_its_loader():
    module = wat(f"(module {EXIT} {START})")
    assert kind_of(module, loader=False) is Kind.WASI
    assert kind_of(module, loader=True) is Kind.WASI


def test_a_module_that_imports_nothing_and_exports_main_is_called():
    module = wat('(module (func (export "main") (param i32) (result i32) local.get 0))')
    assert kind_of(module, loader=False) is Kind.WASI


def test_a_module_that_imports_from_javascript_needs_its_loader():
    module = wat(f'(module {GLUE} (func (export "main")))')
    assert kind_of(module, loader=True) is Kind.LOADER
    with pytest.raises(AlgorithmError, match=r"imports \./glue.*give the loader"):
        kind_of(module, loader=False)


def test_a_module_for_an_older_wasi_needs_its_loader():
    module = wat(f"(module {EXIT} {START})".replace("wasi_snapshot_preview1", "wasi_unstable"))
    assert kind_of(module, loader=True) is Kind.LOADER
    with pytest.raises(AlgorithmError, match="imports wasi_unstable"):
        kind_of(module, loader=False)


def test_a_module_without_an_entry_needs_its_loader():
    module = wat(f'(module {EXIT} (func (export "other")))')
    assert kind_of(module, loader=True) is Kind.LOADER
    with pytest.raises(AlgorithmError, match="nothing to call"):
        kind_of(module, loader=False)


def test_every_kind_of_import_is_read_over():
    module = wat(
        """(module
          (import "a" "table" (table 1 2 funcref))
          (import "b" "memory" (memory 1 2))
          (import "c" "global" (global (mut i32)))
          (import "d" "function" (func))
          (memory (export "more") 1)
          (func (export "main")))"""
    )
    surface = surface_of(module)
    assert surface.imports == {"a", "b", "c", "d"}
    assert surface.exports == {"main"}


@pytest.mark.parametrize("data", [b"", b"\0asm", b"PK\3\4 something else", b"\0asm\2\0\0\0"])
def test_other_files_are_refused(data):
    with pytest.raises(AlgorithmError, match="not a WebAssembly module"):
        kind_of(data, loader=True)


def test_a_module_that_is_cut_off_is_refused_or_read_but_never_hangs():
    module = wat(f"(module {EXIT} {GLUE} {START})")
    for size in range(8, len(module)):
        try:
            surface_of(module[:size])
        except AlgorithmError as error:
            assert "cut off or damaged" in str(error)


def test_damage_is_an_error_of_ours_only():
    module = bytearray(wat(f"(module {EXIT} {GLUE} {START})"))
    for at in range(8, len(module)):
        for value in (0x00, 0x7F, 0x80, 0xFF):
            broken = bytes(module[:at]) + bytes([value]) + bytes(module[at + 1 :])
            try:
                kind_of(broken, loader=False)
            except AlgorithmError:
                continue
