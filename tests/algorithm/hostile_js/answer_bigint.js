onmessage = () => postMessage({ body: 10n });
