onmessage = () => {
  const all = [];
  for (;;) { const b = new SharedArrayBuffer(1 << 20); new Uint8Array(b).fill(3); all.push(b); }
};
