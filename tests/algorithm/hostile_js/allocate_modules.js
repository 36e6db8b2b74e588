// Modules that are compiled, each a little different, and kept.
onmessage = () => {
  const all = [];
  for (let i = 0; ; i++) {
    const body = [65, 3, 108, 65, 7, 106];
    const size = 20000;
    const code = [0, 32, 0];
    for (let j = 0; j < size; j++) code.push(...body);
    code.push(11);
    const leb = (n) => { const out = []; do { out.push((n & 127) | (n > 127 ? 128 : 0)); n >>= 7; } while (n); return out; };
    const inner = [...leb(code.length), ...code];
    const section = [1, ...inner];
    const name = leb(i + 1);
    const bytes = new Uint8Array([
      0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0,
      7, 5, 1, 1, 109, 0, 0, 10, ...leb(section.length), ...section,
      0, ...leb(2 + name.length), 1, 120, ...name,
    ]);
    const made = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    made.exports.m(1);
    all.push(made, bytes);
  }
};
