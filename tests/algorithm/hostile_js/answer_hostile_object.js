onmessage = () => postMessage({ body: { get x() { throw { toString() { throw 1; } }; } } });
