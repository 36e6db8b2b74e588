onmessage = () => postMessage({ body: 1, stdout: "x ".repeat(5 << 20) });
