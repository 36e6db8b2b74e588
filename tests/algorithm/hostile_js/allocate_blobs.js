onmessage = () => {
  const all = [];
  const bytes = new Uint8Array(1 << 20).fill(1);
  for (;;) all.push(URL.createObjectURL(new Blob([bytes])));
};
