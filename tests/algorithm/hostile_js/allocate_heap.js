onmessage = () => { const all = []; for (;;) all.push({ a: all.length, b: [1, 2, 3] }); };
