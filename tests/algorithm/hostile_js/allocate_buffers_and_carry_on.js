onmessage = () => {
  const all = [];
  for (;;) {
    try { all.push(new Uint8Array(1 << 22).fill(7)); } catch { /* it goes on */ }
  }
};
