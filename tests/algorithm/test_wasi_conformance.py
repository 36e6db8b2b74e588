"""The WASI sandbox does what every sandbox must do."""

from algorithm.wasi_programs import compiled, need
from conformance.sandbox_suite import Program, SandboxConformance
from maniple.algorithm.wasi import WasiSandbox


class TestWasiSandbox(SandboxConformance):
    memory = 64 << 20

    def make(self):
        need("wasmtime")
        return WasiSandbox()

    def program(self, name):
        return Program(compiled(name))
