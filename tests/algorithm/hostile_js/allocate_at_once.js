onmessage = () => { new Uint8Array(2 ** 33).fill(1); };
