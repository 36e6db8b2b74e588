onmessage = () => postMessage({ body: "x".repeat(400 << 20) });
